"""Browser sessions: what is kept of them, whom they stand for, and how they end."""

from datetime import timedelta
from hashlib import sha256

import pytest
from sqlalchemy import func, select, update

from services import browser_sessions, keys
from services.access import Caller
from services.database.schema import ApiKey, BrowserSession, now
from services.installation import Installation

HOUR = timedelta(hours=1)


@pytest.fixture
def anna(installation: Installation) -> Caller:
    """One who has shown a key."""
    with installation.database.write() as session:
        _, token = keys.create(session, name="laptop", owner="anna", scopes=["admin"])
    return keys.authenticate(installation.database, token)


def begin(installation: Installation, caller: Caller, lifetime: timedelta = HOUR) -> str:
    with installation.database.write() as session:
        _, token = browser_sessions.begin(session, caller, lifetime=lifetime)
    return token


def count(installation: Installation) -> int:
    with installation.database.read() as session:
        return session.scalar(select(func.count(BrowserSession.id))) or 0


def test_a_token_stands_for_the_key_that_was_shown(
    installation: Installation, anna: Caller
) -> None:
    token = begin(installation, anna)
    known = browser_sessions.recognise(installation.database, token)
    assert known is not None
    assert (known.owner, known.scopes, known.key_id) == ("anna", anna.scopes, anna.key_id)
    assert known.session_id == sha256(token.encode()).hexdigest()
    for wrong in ("", token[:-1], token + "A", known.session_id):
        assert browser_sessions.recognise(installation.database, wrong) is None


def test_only_a_digest_of_the_token_is_kept(installation: Installation, anna: Caller) -> None:
    token = begin(installation, anna)
    assert len(token) == 43
    home = installation.settings.home_folder
    kept = b"".join(path.read_bytes() for path in home.glob("mdf.sqlite*"))
    assert sha256(token.encode()).hexdigest().encode() in kept
    assert token.encode() not in kept


def test_a_session_ends_when_it_expires(installation: Installation, anna: Caller) -> None:
    token = begin(installation, anna)
    known = browser_sessions.recognise(installation.database, token)
    assert known is not None
    with installation.database.write() as session:
        assert keys.shut_out(session, [known]) == set()
        session.execute(update(BrowserSession).values(expires=now()))
    assert browser_sessions.recognise(installation.database, token) is None
    with installation.database.write() as session:
        assert keys.shut_out(session, [known]) == {known}
        browser_sessions.sweep(session)
    assert count(installation) == 0


def test_a_session_ends_with_its_key(installation: Installation, anna: Caller) -> None:
    token = begin(installation, anna)
    with installation.database.write() as session:
        keys.revoke(session, anna.key_id)
    assert browser_sessions.recognise(installation.database, token) is None


def test_a_session_ends_when_it_is_ended_and_others_go_on(
    installation: Installation, anna: Caller
) -> None:
    first, second = begin(installation, anna), begin(installation, anna)
    known = browser_sessions.recognise(installation.database, first)
    assert known is not None
    for _ in range(2):
        with installation.database.write() as session:
            browser_sessions.end(session, known.session_id)
    assert browser_sessions.recognise(installation.database, first) is None
    assert browser_sessions.recognise(installation.database, second) is not None
    with installation.database.read() as session:
        assert keys.shut_out(session, [known]) == {known}


def test_the_use_of_a_session_is_a_use_of_its_key(installation: Installation, anna: Caller) -> None:
    token = begin(installation, anna)
    long_ago = now() - timedelta(days=1)
    with installation.database.write() as session:
        session.execute(update(ApiKey).values(last_used=long_ago))
    browser_sessions.recognise(installation.database, token)
    with installation.database.read() as session:
        used = session.get_one(ApiKey, anna.key_id).last_used
    assert used is not None
    assert used > long_ago + timedelta(hours=23)


def test_a_key_has_so_many_sessions_at_most(
    installation: Installation, anna: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser_sessions, "MOST_OF_A_KEY", 3)
    tokens = [begin(installation, anna) for _ in range(5)]
    alive = [browser_sessions.recognise(installation.database, token) for token in tokens]
    assert [each is not None for each in alive] == [False, False, True, True, True]
    assert count(installation) == 3
