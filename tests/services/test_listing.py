"""Pages: every row once, newest first, whatever the size of a page."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from services.database.schema import Worker, now
from services.errors import BadInputError
from services.ids import new_id
from services.installation import Installation
from services.listing import newest_first


@pytest.fixture
def ids(installation: Installation) -> list[str]:
    made = sorted({new_id("key") for _ in range(25)})
    with installation.database.write() as session:
        session.add_all(
            Worker(id=each, host="h", pid=1, device="cpu", started=now(), last_seen=now())
            for each in made
        )
    return made


@given(limit=st.integers(1, 30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_pages_hold_every_row_once_newest_first(
    installation: Installation, ids: list[str], limit: int
) -> None:
    found: list[str] = []
    cursor = None
    with installation.database.read() as session:
        while True:
            page = newest_first(session, select(Worker), Worker.id, limit=limit, cursor=cursor)
            assert 1 <= len(page.items) <= limit
            found += [row.id for row in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
    assert found == ids[::-1]


@given(cursor=st.text(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_cursor_that_was_not_given_is_refused(installation: Installation, cursor: str) -> None:
    with installation.database.read() as session, pytest.raises(BadInputError, match="cursor"):
        newest_first(session, select(Worker), Worker.id, limit=1, cursor=cursor)
