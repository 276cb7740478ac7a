"""`mdf keys`, on a machine whose server does not run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mdf.commands import app
from mdf.commands import keys as keys_command


@pytest.fixture
def on_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `mdf keys …` with a home of its own; nothing listens at the default address."""
    monkeypatch.setattr("mdf.client.DEFAULT_URL", "http://127.0.0.1:9")

    def run(*arguments: object) -> Result:
        environment = {"MDF_HOME": str(tmp_path / "home")}
        return CliRunner().invoke(app, ["keys", *map(str, arguments)], env=environment)

    return run


def test_the_first_key_is_made_without_a_server(on_host: Callable[..., Result]) -> None:
    first = on_host("create", "admin")
    assert first.exit_code == 0, first.output
    assert first.stdout.startswith("mdf_")
    assert "No server runs here" in first.stderr
    second = json.loads(on_host("create", "alice", "--owner", "alice", "--local", "--json").stdout)
    assert second["scopes"] == ["read", "write"]
    assert second["owner"] == "alice"
    listed = json.loads(on_host("ls", "--json").stdout)
    assert [key["name"] for key in listed] == ["alice", "admin"]
    assert listed[1]["scopes"] == ["read", "write", "admin"]
    assert {key["secret"] for key in listed} == {None}
    assert on_host("revoke", second["id"]).exit_code == 0
    assert "revoked" in on_host("ls").stdout


def test_a_key_is_its_makers_unless_an_owner_is_named(on_host: Callable[..., Result]) -> None:
    assert json.loads(on_host("create", "my laptop", "--json").stdout)["owner"] == "local"
    refused = on_host("create", "x", "--owner", "my laptop", "--local")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: 'my laptop' cannot be an owner")


def test_a_key_is_given_quotas_and_others(on_host: Callable[..., Result]) -> None:
    on_host("create", "admin")
    quotas = ("--requests-per-minute", "600", "--stored-bytes", "1.5 GB", "--running-jobs", "2")
    key = json.loads(on_host("create", "ci", *quotas, "--local", "--json").stdout)
    assert key["quotas"] == {
        "requests_per_minute": 600,
        "stored_bytes": 1_500_000_000,
        "queued_jobs": None,
        "running_jobs": 2,
    }
    assert "stored bytes 1.5 GB" in on_host("ls").stdout
    more = ("--name", "robot", "--requests-per-minute", "default", "--queued-jobs", "0")
    assert "queued jobs" in on_host("set", key["id"], *more).stdout
    changed = json.loads(on_host("set", key["id"], "--json").stdout)
    assert changed["name"] == "robot"
    assert changed["quotas"] == key["quotas"] | {"requests_per_minute": None, "queued_jobs": 0}
    refused = on_host("set", key["id"], "--running-jobs", "0")
    assert refused.stderr.splitlines()[-1].startswith("error: running_jobs is 0")
    unread = on_host("set", key["id"], "--stored-bytes", "much")
    assert unread.exit_code == 2
    assert "--stored-bytes is 'much'" in " ".join(unread.stderr.split())


def test_what_the_database_refuses_is_told(on_host: Callable[..., Result]) -> None:
    refused = on_host("create", "alice", "--scope", "read", "--local")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: the first key must have the scope admin")
    assert on_host("create", "x", "--scope", "root", "--local").exit_code == 1
    unknown = on_host("revoke", "key_0", "--local")
    assert (unknown.exit_code, unknown.stderr) == (1, "error: no API key key_0\n")


def test_a_key_is_named_by_its_token_and_told_by_its_id(on_host: Callable[..., Result]) -> None:
    on_host("create", "admin")
    key = json.loads(on_host("create", "leaked", "--local", "--json").stdout)
    token = key["secret"]
    renamed = on_host("set", token, "--name", "leaks", "--json")
    assert json.loads(renamed.stdout)["name"] == "leaks"
    revoked = on_host("revoke", token, "--json")
    assert json.loads(revoked.stdout) == {"revoked": [key["id"]]}
    assert f"revoked {key['id']}\n" in revoked.stderr
    listed = json.loads(on_host("ls", "--json").stdout)
    assert [each["name"] for each in listed if each["revoked"]] == ["leaks"]
    refused = on_host("revoke", listed[1]["id"], token[4:])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: that is no key")
    secret = token.split("_", 2)[2]
    assert all(secret not in result.output for result in (renamed, revoked, refused))
    assert json.loads(on_host("ls", "--json").stdout) == listed


def test_a_server_that_was_named_is_not_bypassed(on_host: Callable[..., Result]) -> None:
    result = on_host("create", "admin", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "no answer from the server at http://127.0.0.1:9" in result.stderr


def test_the_interface_of_both_key_rings_is_one() -> None:
    from mdf.client.keys import Keys
    from mdf.commands.local_keys import LocalKeys

    for ring in (Keys, LocalKeys):
        for method in ("create", "change", "iterate", "revoke"):
            assert callable(getattr(ring, method)), keys_command.KeyRing
