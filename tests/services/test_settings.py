"""Settings from the environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.errors import BadInputError
from services.settings import Settings, load_settings


def test_the_defaults_need_nothing_but_a_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MDF_HOME", str(tmp_path))
    settings = load_settings()
    assert settings.sqlalchemy_url == f"sqlite:///{tmp_path / 'mdf.sqlite'}"
    assert settings.broker_url == f"redis+socket://{tmp_path / 'redis' / 'redis.sock'}"
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)


def test_an_unknown_name_is_refused_and_the_known_ones_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MDF_PROT", "9000")
    with pytest.raises(BadInputError, match=r"MDF_PROT.*MDF_PORT"):
        load_settings()


def test_the_client_s_names_are_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDF_URL", "http://elsewhere")
    monkeypatch.setenv("MDF_API_KEY", "k")
    load_settings()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MDF_PORT", "eighty", "MDF_PORT: input should be a valid integer.*'eighty'"),
        ("MDF_SLOTS", "65", "MDF_SLOTS: input should be less than or equal to 64; it is '65'"),
        ("MDF_LOG_LEVEL", "loud", "MDF_LOG_LEVEL: .*DEBUG.*; it is 'loud'"),
        ("MDF_LEASE_SECONDS", "1", "MDF_LEASE_SECONDS is 1; it must be"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv("MDF_DATABASE_URL", "postgresql+psycopg://u:hunter2@h/d")
    monkeypatch.setenv(name, value)
    with pytest.raises(BadInputError, match=told) as caught:
        load_settings()
    assert "hunter2" not in caught.value.message
    assert caught.value.__context__ is None


@pytest.mark.parametrize("program", ["api", "workers"])
def test_a_process_with_a_wrong_setting_ends_with_one_line(program: str) -> None:
    environment = {
        **os.environ,
        "MDF_PORT": "eighty",
        "MDF_LEASE_SECONDS": "0",
        "MDF_REDIS_URL": "redis://:hunter2@h",
    }
    result = subprocess.run(
        [sys.executable, "-m", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("mdf: wrong setting: MDF_PORT: ")
    assert result.stderr.count("\n") == 1
    assert "hunter2" not in result.stderr


def test_a_lease_must_outlast_two_heartbeats() -> None:
    with pytest.raises(ValidationError, match=r"MDF_LEASE_SECONDS is 8; .*MDF_HEARTBEAT_SECONDS"):
        Settings(lease_seconds=8, heartbeat_seconds=5)


def test_a_long_home_gets_a_short_socket(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / ("x" * 120))
    assert len(str(settings.broker_socket)) <= 100
    assert settings.broker_socket == Settings(home=tmp_path / ("x" * 120)).broker_socket
    assert settings.broker_socket != Settings(home=tmp_path / ("y" * 120)).broker_socket


def test_passwords_do_not_show_in_a_printout() -> None:
    settings = Settings(
        database_url="postgresql+psycopg://u:secret@h/d",  # type: ignore[arg-type]
        redis_url="rediss://:secret@h",  # type: ignore[arg-type]
    )
    assert "secret" not in repr(settings)
    assert settings.broker_url == "rediss://:secret@h"
