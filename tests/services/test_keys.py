"""API keys: what is kept of them, and who they let in."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from services import keys
from services.access import LOCAL, Caller, Scope
from services.database.schema import ApiKey, now
from services.errors import BadInputError, ConflictError, NotFoundError, UnauthenticatedError
from services.installation import Installation


def make(installation: Installation, *scopes: Scope, owner: str = "anna") -> tuple[ApiKey, str]:
    with installation.database.write() as session:
        return keys.create(session, name="laptop", owner=owner, scopes=scopes)


def test_a_token_names_its_key_and_its_secret_is_not_kept(installation: Installation) -> None:
    key, token = make(installation, "admin")
    assert token.startswith(f"mdf_{key.id.removeprefix('key_')}_")
    secret = token.split("_", 2)[2]
    assert len(secret) == 43
    kept = (installation.settings.home_folder / "mdf.sqlite").read_bytes()
    kept += (installation.settings.home_folder / "mdf.sqlite-wal").read_bytes()
    assert key.secret_hash.encode() in kept
    assert secret.encode() not in kept


@pytest.mark.parametrize("name", ["", "two\nlines", "line\n", "\x9b2J", "\u202eab", "x" * 201])
def test_a_name_that_cannot_be_shown_is_refused(installation: Installation, name: str) -> None:
    with (
        installation.database.write() as session,
        pytest.raises(BadInputError, match="a key cannot be called"),
    ):
        keys.create(session, name=name, owner="anna", scopes=["admin"])


@pytest.mark.parametrize("owner", ["", "a b", "anna\n", "ä", "x" * 101])
def test_an_owner_is_a_word(installation: Installation, owner: str) -> None:
    with (
        installation.database.write() as session,
        pytest.raises(BadInputError, match="cannot be an owner") as error,
    ):
        keys.create(session, name="laptop", owner=owner, scopes=["admin"])
    assert error.value.problems[0].pointer == "/owner"


def test_a_token_lets_its_holder_in_with_the_keys_scopes(installation: Installation) -> None:
    make(installation, "admin")
    key, token = make(installation, "write", "read", owner="bert")
    caller = keys.authenticate(installation.database, token)
    assert caller == Caller(owner="bert", scopes=frozenset({"read", "write"}), key_id=key.id)


def test_equal_secrets_would_be_kept_differently() -> None:
    assert keys._hash("s", salt=b"1" * 16) != keys._hash("s", salt=b"2" * 16)
    assert keys._matches("s", keys._hash("s", salt=b"1" * 16))
    assert not keys._matches("t", keys._hash("s", salt=b"1" * 16))


def test_other_tokens_let_nobody_in(installation: Installation) -> None:
    _, token = make(installation, "admin")
    other = "x" if token[-1] != "x" else "y"
    for wrong in (token[:-1] + other, token.upper(), token + "A", "", "mdf_", "x" * 10_000):
        with pytest.raises(UnauthenticatedError, match="unknown or has been revoked"):
            keys.authenticate(installation.database, wrong)


def test_a_revoked_key_lets_nobody_in_at_once(installation: Installation) -> None:
    make(installation, "admin")
    key, token = make(installation, "read")
    caller = keys.authenticate(installation.database, token)
    with installation.database.write() as session:
        assert keys.shut_out(session, [caller]) == set()
        first = keys.revoke(session, key.id).revoked
    with pytest.raises(UnauthenticatedError):
        keys.authenticate(installation.database, token)
    with installation.database.write() as session:
        assert keys.revoke(session, key.id).revoked == first
        unknown = replace(caller, key_id="key_unknown")
        assert keys.shut_out(session, [caller, unknown]) == {caller, unknown}


def test_keys_are_required_while_one_is_in_force(installation: Installation) -> None:
    def required() -> bool:
        with installation.database.read() as session:
            return keys.required(session)

    assert not required()
    key, _ = make(installation, "admin")
    assert required()
    with installation.database.write() as session:
        keys.revoke(session, key.id)
    assert not required()


def test_there_is_always_a_key_that_makes_others(installation: Installation) -> None:
    with pytest.raises(ConflictError, match="the first key must have the scope admin"):
        make(installation, "read", "write")
    admin, _ = make(installation, "admin")
    other, _ = make(installation, "read")
    with (
        installation.database.write() as session,
        pytest.raises(ConflictError, match="the last key with the scope admin"),
    ):
        keys.revoke(session, admin.id)
    with installation.database.write() as session:
        keys.revoke(session, other.id)
        keys.revoke(session, admin.id)


def test_the_last_use_is_recorded_once_a_minute(installation: Installation) -> None:
    key, token = make(installation, "admin")

    def last_used() -> object:
        with installation.database.read() as session:
            return keys.get(session, key.id).last_used

    assert last_used() is None
    keys.authenticate(installation.database, token)
    first = last_used()
    assert first is not None
    keys.authenticate(installation.database, token)
    assert last_used() == first
    with installation.database.write() as session:
        session.execute(update(ApiKey).values(last_used=now() - timedelta(minutes=2)))
    keys.authenticate(installation.database, token)
    assert now() - last_used() < timedelta(seconds=30)  # type: ignore[operator]  # a time by now


def test_a_key_needs_known_scopes_and_a_revocation_a_known_key(
    installation: Installation,
) -> None:
    with installation.database.write() as session:
        for scopes in ((), ("root",)):
            with pytest.raises(BadInputError, match="scopes read, write, admin"):
                keys.create(session, name="x", owner="y", scopes=scopes)  # type: ignore[arg-type]  # the point
        with pytest.raises(NotFoundError):
            keys.revoke(session, "key_unknown")


def test_an_id_that_there_is_not_takes_as_long_as_a_wrong_secret(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, token = make(installation, "admin")
    compared: list[str] = []
    matches = keys._matches

    def watch(secret: str, kept: str) -> bool:
        compared.append(kept)
        return matches(secret, kept)

    monkeypatch.setattr(keys, "_matches", watch)
    absent = f"mdf_{'0' * 32}_{token.split('_', 2)[2]}"
    wrong = f"mdf_{key.id.removeprefix('key_')}_{'A' * 43}"
    for each in (absent, wrong):
        with pytest.raises(UnauthenticatedError):
            keys.authenticate(installation.database, each)
    nobodys, annas = compared
    assert annas == key.secret_hash
    assert len(nobodys) == len(annas)


def test_who_came_without_a_key_is_shut_out_by_the_first_one(installation: Installation) -> None:
    with installation.database.read() as session:
        assert keys.shut_out(session, [LOCAL]) == set()
    make(installation, "admin")
    with installation.database.read() as session:
        assert keys.shut_out(session, [LOCAL]) == {LOCAL}
