"""The logs of ended jobs: shorter, and still the whole story."""

from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import insert

from services.access import LOCAL
from services.database.schema import JobEvent, now
from services.jobs import queries
from services.jobs.submission import submit
from services.phase1.recipe import DiscriminatorTraining
from services.retention.thinning import KEPT, thin


@pytest.fixture
def add_job(installation, seed_image):
    """A job with so many events of progress, between others; it ended so many hours ago."""

    def add(events, hours=2.0, state="succeeded"):
        spec = {"seed_image_ids": [seed_image.id], "task": {"kind": "sisr"}, "preset": "quick"}
        with installation.database.write() as session:
            job = submit(session, DiscriminatorTraining.model_validate(spec), caller=LOCAL)
            rows = [
                {
                    "job_id": job.id,
                    "seq": seq,
                    "kind": "checkpoint" if seq % 100 == 0 else "progress",
                    "content": {"step": seq},
                    "created": now(),
                }
                for seq in range(2, 2 + events)
            ]
            session.execute(insert(JobEvent), rows)
            job.last_seq = 1 + events
            job.state, job.finished = state, now() - timedelta(hours=hours)
        return job.id

    return add


def log(installation, job_id):
    with installation.database.read() as session:
        return queries.events_after(session, job_id, 0, limit=10_000)


def test_progress_is_thinned_evenly_and_all_else_stays(installation, add_job):
    job_id = add_job(5000)
    before = log(installation, job_id)
    thin(installation.database)
    left = log(installation, job_id)
    steps = [event.seq for event in left if event.kind == "progress"]
    assert len(steps) == KEPT
    assert (steps[0], steps[-1]) == (2, 5001)
    assert max(later - earlier for earlier, later in pairwise(steps)) <= 12
    others = [event.seq for event in left if event.kind != "progress"]
    assert others == [event.seq for event in before if event.kind != "progress"]
    thin(installation.database)
    assert len(log(installation, job_id)) == len(left)


def test_what_runs_has_just_ended_or_is_short_stays(installation, add_job):
    jobs = {add_job(1000, state="running"), add_job(1000, hours=0.5), add_job(505)}
    thin(installation.database)
    lengths = sorted(len(log(installation, job_id)) for job_id in jobs)
    assert lengths == [506, 1001, 1001]


def test_the_next_round_looks_only_at_what_has_ended_since(installation, add_job):
    first = add_job(1000)
    since = thin(installation.database)
    second = add_job(1000)  # that long ago, so a round before must have seen it
    thin(installation.database, since=since)
    assert [len(log(installation, job_id)) for job_id in (first, second)] == [511, 1001]
    thin(installation.database, since=since - timedelta(hours=2))
    assert len(log(installation, second)) == 511


def test_a_client_that_comes_back_reads_over_the_gaps(installation, add_job):
    job_id = add_job(2000)
    thin(installation.database)
    with installation.database.read() as session:
        rest = queries.events_after(session, job_id, 1000, limit=10_000)
    assert rest[0].seq > 1000
    assert rest[-1].seq == 2001
