"""What an owner asks of a job, in every state."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from services.access import LOCAL, Caller, Quotas
from services.database.schema import Job
from services.errors import (
    BadInputError,
    ConflictError,
    DiskFullError,
    NotFoundError,
    QuotaExceededError,
)
from services.images import catalogue
from services.jobs import claims, queries, requests
from services.jobs.lifecycle import State
from services.jobs.submission import submit

STRANGER = Caller(owner="stranger", scopes=frozenset({"write"}))
HELD = {State.RUNNING, State.PAUSING, State.CANCELING}
CONFLICT = "conflict"
# What becomes of a job in a state on a request, while its process lives.
OUTCOMES = {
    requests.cancel: {
        State.QUEUED: "canceled",
        State.RUNNING: "canceling",
        State.PAUSING: "canceling",
        State.PAUSED: "canceled",
        State.CANCELING: "canceling",
        State.CANCELED: "canceled",
    },
    requests.pause: {
        State.QUEUED: "paused",
        State.RUNNING: "pausing",
        State.PAUSING: "pausing",
        State.PAUSED: "paused",
    },
    requests.resume: {State.PAUSED: "queued", State.PAUSING: "running"},
    requests.finish: {
        State.QUEUED: "queued",
        State.RUNNING: "running",
        State.PAUSING: "running",
        State.PAUSED: "queued",
    },
    requests.retry: {State.FAILED: "queued", State.CANCELED: "queued"},
}


def put_in(desk, state: State) -> Job:
    """A job in that state, with a live process where there is one."""
    job = desk.submit()
    if state in HELD:
        desk.claim(job)
    with desk.installation.database.write() as session:
        session.get_one(Job, job.id).state = state.value
    return job


@pytest.mark.parametrize("request_", OUTCOMES, ids=lambda request: request.__name__)
def test_every_request_in_every_state(desk, request_):
    for state in State:
        job = put_in(desk, state)
        expected = OUTCOMES[request_].get(state, CONFLICT)
        if expected is CONFLICT:
            with pytest.raises(ConflictError, match=f"{job.id} is {state.value} and cannot be"):
                desk.ask(request_, job)
            expected = state.value
        else:
            desk.ask(request_, job)
        assert desk.job(job).state == expected, state


@pytest.mark.parametrize(
    ("request_", "state"), [(requests.cancel, "canceled"), (requests.pause, "paused")]
)
def test_a_job_without_a_live_lease_is_settled_at_once(desk, request_, state):
    job = desk.submit()
    claim = desk.claim(job, lease=-1)
    assert desk.ask(request_, job).state == state
    with desk.installation.database.write() as session, pytest.raises(claims.StaleRunError):
        claims.succeed(session, claim)


def test_finish_is_remembered_until_a_process_sees_it(desk):
    job = desk.submit()
    desk.ask(requests.finish, job)
    desk.claim(job)
    assert desk.job(job).desired_state == "finish"


def test_retry_begins_with_all_attempts_and_keeps_the_checkpoint(desk):
    job = desk.submit()
    claim = desk.claim(job)
    with desk.installation.database.write() as session:
        session.get_one(Job, job.id).checkpoint = "checkpoints/x/1-1"
        claims.fail(session, claim, {"code": "internal", "message": "m", "retryable": True})
    fresh = desk.ask(requests.retry, job)
    assert (fresh.attempt, fresh.error, fresh.finished) == (0, None, None)
    assert fresh.checkpoint == "checkpoints/x/1-1"


def test_a_job_whose_seed_is_gone_cannot_be_retried(desk):
    job = put_in(desk, State.FAILED)
    catalogue.delete(desk.installation.database, desk.installation.blobs, desk.seed.id, LOCAL)
    with pytest.raises(ConflictError, match="no image"):
        desk.ask(requests.retry, job)


@pytest.mark.parametrize(
    ("request_", "state"),
    [
        (requests.retry, State.FAILED),
        (requests.retry, State.CANCELED),
        (requests.resume, State.PAUSED),
        # Else a job that was to finish, paused and resumed, would go on to its end after all.
        (requests.resume, State.PAUSING),
    ],
)
def test_whose_storage_is_used_up_takes_up_no_job_again(desk, request_, state):
    job = put_in(desk, state)
    everything = replace(LOCAL, quotas=Quotas(stored_bytes=desk.seed.size))
    with (
        pytest.raises(QuotaExceededError, match=r"stored_bytes"),
        desk.installation.database.write() as session,
    ):
        request_(session, job.id, everything)
    assert desk.job(job).state == state.value
    room = replace(LOCAL, quotas=Quotas(stored_bytes=desk.seed.size + 1))
    with desk.installation.database.write() as session:
        request_(session, job.id, room)


def test_an_admin_who_takes_up_a_job_again_is_held_to_its_owners_storage(desk):
    job = put_in(desk, State.PAUSED)
    admin = Caller("root", frozenset({"admin"}), quotas=Quotas(stored_bytes=desk.seed.size))
    with desk.installation.database.write() as session, pytest.raises(QuotaExceededError) as caught:
        requests.resume(session, job.id, admin)
    assert caught.value.message.startswith("local has stored")


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.PAUSING, State.PAUSED])
def test_whose_storage_is_used_up_may_end_a_job_and_keep_its_result(desk, state):
    job = put_in(desk, state)
    everything = replace(LOCAL, quotas=Quotas(stored_bytes=desk.seed.size))
    with desk.installation.database.write() as session:
        assert requests.finish(session, job.id, everything).desired_state == "finish"


@pytest.mark.parametrize("request_", OUTCOMES, ids=lambda request: request.__name__)
def test_below_the_floor_a_job_is_ended_and_not_taken_up_again(desk, request_):
    blobs = desk.installation.blobs
    blobs._floor = 1 << 60
    for state, outcome in OUTCOMES[request_].items():
        job = put_in(desk, state)
        takes_up = request_ in (requests.resume, requests.retry)
        refused = pytest.raises(DiskFullError, match="MDF_DISK_FLOOR_BYTES")
        with (
            refused if takes_up else nullcontext(),
            desk.installation.database.write() as session,
        ):
            requests.ask(session, blobs, request_, job.id, LOCAL)
        assert desk.job(job).state == (state.value if takes_up else outcome), state


def test_an_ended_job_can_be_deleted_with_its_log(desk):
    job = desk.submit()
    with pytest.raises(ConflictError, match="cancel it first"):
        desk.delete(job)
    desk.ask(requests.cancel, job)
    for folder in ("checkpoints", "samples", "artifacts", "parts"):
        desk.installation.blobs.put(f"{folder}/{job.id}/1-1", b"seven B")
    other = f"samples/{job.id}0/1-1"
    desk.installation.blobs.put(other, b"of another job")
    assert desk.delete(job) == 4 * 7
    assert not [key for key in desk.installation.blobs.keys("") if f"{job.id}/" in key]
    assert desk.installation.blobs.has(other)
    with desk.installation.database.read() as session:
        assert session.get(Job, job.id) is None
        assert queries.events_after(session, job.id, 0) == []


def test_name_and_priority_can_be_changed(desk):
    job = desk.submit(name="old", priority=1)
    changed = desk.ask(requests.change, job, name="new")
    assert (changed.name, changed.priority) == ("new", 1)
    changed = desk.ask(requests.change, job, priority=7)
    assert (changed.name, changed.priority) == ("new", 7)


def test_a_stranger_learns_nothing(desk):
    job = desk.submit()
    for request in (*OUTCOMES, requests.change):
        with desk.installation.database.write() as session, pytest.raises(NotFoundError):
            request(session, job.id, STRANGER)
    with pytest.raises(NotFoundError):
        desk.delete(job, STRANGER)


def test_a_spec_that_names_a_strangers_image_is_refused(desk):
    with (
        desk.installation.database.write() as session,
        pytest.raises(BadInputError, match="no image") as caught,
    ):
        submit(session, desk.spec, caller=STRANGER)
    assert caught.value.problems[0].pointer == "/seed_image_ids/0"
