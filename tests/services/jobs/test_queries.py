"""Reading jobs, their place in line and their metrics."""

import numpy as np
import pytest

from services.access import LOCAL, Caller
from services.database.schema import Job
from services.errors import NotFoundError
from services.jobs import lifecycle, metrics, queries, requests
from services.jobs.lifecycle import State
from services.jobs.submission import submit
from services.phase2.recipe import RestorationTraining
from services.restoration.spec import Restoration

OWNER = Caller(owner="local", scopes=frozenset({"read"}))
STRANGER = Caller(owner="stranger", scopes=frozenset({"read"}))


def places(session, jobs):
    found = queries.queue_positions(session, jobs)
    return [found[job.id] for job in jobs]


def test_lists_belong_to_their_owner_and_come_in_pages(desk, installation):
    jobs = [desk.submit() for _ in range(5)]
    with installation.database.read() as session:
        first = queries.list_jobs(session, OWNER, limit=3)
        rest = queries.list_jobs(session, OWNER, limit=3, cursor=first.next_cursor)
        assert [job.id for job in [*first.items, *rest.items]] == [job.id for job in jobs[::-1]]
        assert rest.next_cursor is None
        assert queries.list_jobs(session, STRANGER).items == []
        with pytest.raises(NotFoundError):
            queries.get(session, jobs[0].id, STRANGER)


def test_those_that_run_come_before_those_that_wait(desk, installation):
    waiting, running, ended = desk.submit(), desk.submit(), desk.submit()
    desk.claim(running)
    with installation.database.write() as session:
        requests.cancel(session, ended.id, LOCAL)
    with installation.database.read() as session:
        active = queries.list_active(session, OWNER)
        assert [job.id for job in active] == [running.id, waiting.id]
        assert [job.id for job in queries.list_active(session, OWNER, limit=1)] == [running.id]
        assert [job.id for job in queries.list_ended(session, OWNER)] == [ended.id]
        assert queries.list_active(session, STRANGER) == []
        assert queries.list_ended(session, STRANGER) == []


def test_what_ended_last_comes_first(desk, installation):
    first, second = desk.submit(), desk.submit()
    with installation.database.write() as session:
        requests.cancel(session, second.id, LOCAL)
    with installation.database.write() as session:
        requests.cancel(session, first.id, LOCAL)
    with installation.database.read() as session:
        ended = queries.list_ended(session, OWNER)
        assert [job.id for job in ended] == [first.id, second.id]


def test_lists_by_state(desk, installation):
    running, _ = desk.submit(), desk.submit()
    desk.claim(running)
    with installation.database.read() as session:
        found = queries.list_jobs(session, LOCAL, state=State.RUNNING).items
    assert [job.id for job in found] == [running.id]


def test_the_place_in_line_follows_priority_and_wait(desk, installation):
    jobs = [desk.submit(priority=priority) for priority in (0, 2, 0, 1)]
    desk.claim(desk.submit(priority=9))
    with installation.database.read() as session:
        assert places(session, jobs) == [3, 1, 4, 2]


def test_a_line_is_of_all_types_that_wait_in_one_queue(desk, installation, add_dataset, add_model):
    photograph = {"photograph.png": np.zeros((64, 64, 3), np.uint8)}
    wanted = {"dataset_id": add_dataset(photograph).id, "preset": "quick-dncnn-denoising"}
    training = RestorationTraining.model_validate(wanted)
    restoration = Restoration(model_id=add_model().id, image_ids=(desk.seed.id,))
    first = desk.submit()
    with installation.database.write() as session:
        second, other = (submit(session, spec, caller=LOCAL) for spec in (training, restoration))
    third = desk.submit()
    with installation.database.read() as session:
        assert places(session, (first, second, third, other)) == [1, 2, 3, 1]


def test_a_running_job_has_no_place_in_line_and_an_eta(desk, installation):
    job = desk.submit()
    desk.claim(job)
    with installation.database.write() as session:
        session.get_one(Job, job.id).progress = {"eta_seconds": 12.5}
    with installation.database.read() as session:
        assert queries.queue_positions(session, [desk.job(job)]) == {}
        assert queries.eta_seconds(session, desk.job(job)) == 12.5
        assert queries.eta_seconds(session, desk.submit()) is None


@pytest.fixture
def measured(desk, installation):
    """A job with 100 points in each of two scales."""
    job = desk.submit()
    values = {
        (scale, step): {"a": float(step), "b": 0.0} for scale in (1, 2) for step in range(1, 101)
    }
    with installation.database.write() as session:
        metrics.store(session, job.id, values)
    return job


def read(installation, job, **conditions):
    with installation.database.read() as session:
        rows = queries.metrics(session, job.id, **conditions)
    return [(row.scale, row.step, row.content) for row in rows]


def test_metrics_come_in_order_and_by_choice(measured, installation):
    everything = read(installation, measured)
    assert len(everything) == 200
    assert everything == sorted(everything, key=lambda point: point[:2])
    assert read(installation, measured, scale=2, after_step=98, keys=["a"]) == [
        (2, 99, {"a": 99.0}),
        (2, 100, {"a": 100.0}),
    ]


def test_thinned_metrics_keep_the_first_and_the_last(measured, installation):
    for max_points in (2, 3, 7, 50, 199, 200, 1000):
        points = read(installation, measured, max_points=max_points)
        assert min(200, max_points) / 2 <= len(points) <= max_points
        assert points[0][:2] == (1, 1)
        assert points[-1][:2] == (2, 100)


def test_metrics_written_again_replace_the_old(measured, installation):
    with installation.database.write() as session:
        metrics.store(session, measured.id, {(1, 1): {"a": -1.0}})
    assert read(installation, measured)[0] == (1, 1, {"a": -1.0})
    assert len(read(installation, measured)) == 200


def test_a_log_is_paged_back_from_its_end(desk, installation):
    job = desk.submit()
    with installation.database.write() as session:
        for number in range(6):
            kind = "progress" if number % 2 else "log"
            lifecycle.record(session, job.id, kind, {"number": number})
    with installation.database.read() as session:
        last = queries.events_before(session, job.id, limit=3)
        assert [event.content["number"] for event in last] == [3, 4, 5]
        before = queries.events_before(session, job.id, last[0].seq, limit=3)
        assert [event.content.get("number") for event in before] == [0, 1, 2]
        logs = queries.events_before(session, job.id, last[2].seq, kinds=("log",), limit=2)
        assert [event.content["number"] for event in logs] == [2, 4]
