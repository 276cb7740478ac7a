"""States move as the table says, one event for each move."""

import itertools

from services.database.schema import Job
from services.jobs import lifecycle, queries
from services.jobs.lifecycle import TERMINAL, TRANSITIONS, State


def test_the_table_knows_every_state():
    assert set(TRANSITIONS) == set(State)
    assert {state for state, targets in TRANSITIONS.items() if not targets} <= TERMINAL


def test_a_job_moves_only_where_the_table_leads(desk, installation):
    for source, target in itertools.product(State, State):
        job = desk.submit()
        with installation.database.write() as session:
            session.get_one(Job, job.id).state = source.value
        with installation.database.write() as session:
            moved = lifecycle.move(session, job.id, target)
        assert (moved is not None) == (target in TRANSITIONS[source])
        now = desk.job(job)
        assert now.state == (target if moved else source)
        assert now.last_seq == (2 if moved else 1)


def test_a_move_with_an_old_token_changes_nothing(desk, installation):
    job = desk.submit()
    claim = desk.claim(job)
    with installation.database.write() as session:
        assert lifecycle.move(session, job.id, State.SUCCEEDED, fence=claim.token - 1) is None
    assert desk.job(job).state == "running"


def test_each_move_is_an_event_and_numbers_have_no_gaps(desk, installation):
    job = desk.submit()
    claim = desk.claim(job)
    with installation.database.write() as session:
        assert lifecycle.record(session, job.id, "log", {"message": "hello"}, fence=claim.token)
        assert not lifecycle.record(session, job.id, "log", {"message": "old"}, fence=0)
    with installation.database.read() as session:
        events = queries.events_after(session, job.id, 0)
        assert [(event.seq, event.kind) for event in events] == [
            *((1, "state"), (2, "state"), (3, "log"))
        ]
        assert events[1].content == {"state": "running", "attempt": 1}
        assert queries.last_seqs(session, [job.id, "job_none"]) == {job.id: 3}
        assert [event.seq for event in queries.events_after(session, job.id, 2)] == [3]
