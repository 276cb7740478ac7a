"""The logs of the embedded stack stay within bounds while their processes write."""

from pathlib import Path

import pytest

from services.embedded import stack
from services.embedded.stack import Stack
from services.settings import Settings


@pytest.fixture
def log(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of the API, of which a hundred bytes are kept."""
    monkeypatch.setattr(stack, "_LOG_BYTES", 100)
    path = settings.home_folder / "logs" / "api.log"
    path.parent.mkdir(parents=True)
    return path


def test_a_long_log_is_put_aside_under_the_feet_of_its_writer(
    settings: Settings, log: Path
) -> None:
    served = Stack(settings)
    served._limit_log(served._api)  # there is none yet
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        served._limit_log(served._api)
        assert log.read_bytes() == b"x" * 100
        writer.write(b"y")
        served._limit_log(served._api)
        writer.write(b"after")
    assert log.read_bytes() == b"after"
    assert log.with_name("api.log.1").read_bytes() == b"x" * 100 + b"y"


def test_a_log_that_cannot_be_put_aside_is_cut_all_the_same(settings: Settings, log: Path) -> None:
    log.with_name("api.log.1").mkdir()
    log.write_bytes(b"x" * 101)
    served = Stack(settings)
    served._limit_log(served._api)
    assert log.read_bytes() == b""
