"""`mdf serve`: starts, says where it is, refuses to start twice, and stops in order."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdf.client import Client

pytestmark = pytest.mark.slow


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_service_starts_once_per_folder_and_stops_on_interrupt(
    start: Callable[..., Any], tmp_path: Path, port: int
) -> None:
    home = tmp_path / "a home"
    serving = start("serve", "--home", home, "--port", port)
    url = f"http://127.0.0.1:{port}"
    with Client(url, retries=8) as client:
        assert client.me().owner == "local"

    code, _, errors = start("serve", "--home", home, "--port", port + 1).end()
    assert code == 1
    assert errors.startswith(f"error: MDF runs already in {home} (process {serving.process.pid})")

    code, _, errors = start("serve", "--home", tmp_path / "other", "--port", port).end()
    assert code == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in errors
    assert "MDF_PORT" in errors

    serving.interrupt()
    code, output, errors = serving.end()
    assert code == 0, errors
    assert output.startswith(f"MDF is ready at {url}\n")
    assert str(home) in output
    assert errors.endswith("Stopped.\n")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"MDF_PORT": "eighty"}, "error: wrong setting: MDF_PORT: "),
        ({"MDF_PROT": "80"}, "error: unknown setting MDF_PROT in the environment"),
        ({"MDF_LEASE_SECONDS": "1"}, "error: wrong setting: MDF_LEASE_SECONDS is 1"),
        ({"MDF_HOST": "0.0.0.0"}, "API key"),
    ],
)
def test_a_wrong_setting_is_told(
    start: Callable[..., Any], tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    code, output, errors = start("serve", "--home", tmp_path / "home", **environment).end()
    assert (code, output) == (1, "")
    assert message in errors
    assert "Traceback" not in errors
