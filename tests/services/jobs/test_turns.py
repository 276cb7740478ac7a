"""Turns: nobody's many jobs hold up another's one, however many slots there are."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select, text, update

from services.access import LOCAL, Caller, Quotas
from services.database.schema import Job, Share, now
from services.jobs import claims, queries, turns
from services.jobs.queues import QUEUE_NAMES
from services.jobs.submission import submit
from services.restoration.spec import Restoration

LEASE = timedelta(seconds=30)


class Slots:
    """Owners who submit, and slots that claim and end jobs."""

    def __init__(self, desk):
        self.desk = desk
        self.database = desk.installation.database
        self.owner_of = {}
        self.held = {}

    def submit(self, owner, count=1, *, spec=None, cap=None, priority=0):
        caller = Caller(owner, frozenset({"admin"}), quotas=Quotas(running_jobs=cap))
        with self.database.write() as session:
            jobs = [
                submit(session, spec or self.desk.spec, caller=caller, priority=priority)
                for _ in range(count)
            ]
        self.owner_of |= {job.id: owner for job in jobs}
        return [job.id for job in jobs]

    def claim(self, queue="train"):
        """The id of the job that a free slot gets; None if there is none for it."""
        with self.database.read() as session:
            wanted = claims.candidate(session, queue)
        if wanted is None:
            return None
        with self.database.write() as session:
            assert claims.claim(session, wanted, holder="w", host="h", lease=LEASE)
        self.held[wanted.job_id] = wanted
        return wanted.job_id

    def end(self, job_id):
        with self.database.write() as session:
            claims.succeed(session, self.held.pop(job_id))

    def owners(self, count, queue="train"):
        """Whose jobs one slot runs, one after another."""
        served = []
        for _ in range(count):
            job_id = self.claim(queue)
            served.append(self.owner_of[job_id])
            self.end(job_id)
        return served

    def positions(self, job_ids):
        with self.database.read() as session:
            jobs = session.scalars(select(Job).where(Job.id.in_(job_ids))).all()
            return queries.queue_positions(session, jobs)


@pytest.fixture
def slots(desk):
    return Slots(desk)


def test_a_hundred_jobs_do_not_hold_up_another_owners_one(slots):
    slots.submit("alice", 100)
    assert slots.owners(3) == ["alice"] * 3
    slots.submit("bob")
    slots.submit("carol", 2)
    assert slots.owners(6) == ["bob", "carol", "alice", "carol", "alice", "alice"]


def test_another_owners_job_comes_next_after_a_long_run(slots):
    slots.submit("alice", 100)
    first = slots.claim()
    slots.submit("bob", 2)
    slots.end(first)
    assert slots.owners(4) == ["bob", "alice", "bob", "alice"]


def test_turns_keep_their_order_when_the_clock_is_set_back(slots):
    slots.submit("alice", 10)
    slots.submit("bob", 10)
    assert slots.owners(2) == ["alice", "bob"]
    with slots.database.write() as session:
        session.execute(update(Share).values(served=now() + timedelta(hours=1)))
        session.get_one(Share, ("train", "bob")).served += timedelta(seconds=1)
    assert slots.owners(4) == ["alice", "bob", "alice", "bob"]


def test_a_slot_serves_the_owner_with_the_fewest_running(slots):
    slots.submit("alice", 10)
    running = [slots.claim() for _ in range(3)]
    slots.submit("bob", 10)
    assert [slots.owner_of[slots.claim()] for _ in range(4)] == ["bob", "bob", "bob", "alice"]
    for job_id in running:
        slots.end(job_id)
    assert [slots.owner_of[slots.claim()] for _ in range(3)] == ["alice", "alice", "bob"]


def test_priority_counts_among_an_owners_own_jobs_only(slots):
    (low,) = slots.submit("alice", priority=-100)
    (high,) = slots.submit("alice", priority=1)
    slots.submit("bob", 5, priority=100)
    claimed = [slots.claim() for _ in range(4)]
    assert claimed[0] == high
    assert claimed[2] == low
    assert [slots.owner_of[job_id] for job_id in claimed] == ["alice", "bob", "alice", "bob"]


def test_a_turn_in_one_queue_costs_none_in_another(slots, add_model):
    small = Restoration(model_id=add_model().id, image_ids=(slots.desk.seed.id,))
    slots.submit("bob", 3)
    slots.submit("alice", 3)
    slots.submit("alice", 20, spec=small)
    for _ in range(3):
        assert slots.owners(5, "restore") == ["alice"] * 5
        assert sorted(slots.owners(2)) == ["alice", "bob"]


def test_an_owner_at_the_cap_is_passed_over(slots):
    capped = slots.submit("alice", 5, cap=2)
    assert [slots.claim() for _ in range(3)] == [*capped[:2], None]
    slots.submit("bob", 2)
    assert [slots.owner_of[slots.claim()] for _ in range(2)] == ["bob", "bob"]
    slots.end(capped[0])
    assert [slots.claim() for _ in range(2)] == [capped[2], None]


def test_the_cap_is_for_all_queues_together(slots, add_model):
    small = Restoration(model_id=add_model().id, image_ids=(slots.desk.seed.id,))
    slots.submit("alice", cap=1)
    (restoration,) = slots.submit("alice", spec=small, cap=1)
    training = slots.claim()
    assert slots.claim("restore") is None
    slots.end(training)
    assert slots.claim("restore") == restoration


def test_slots_that_claim_at_the_same_time_do_not_exceed_the_cap(slots):
    slots.submit("alice", 40, cap=3)
    together = threading.Barrier(8)

    def claim(_):
        together.wait()
        claimed = 0
        while True:
            with slots.database.read() as session:
                wanted = claims.candidate(session, "train")
            if wanted is None:
                return claimed
            with slots.database.write() as session:
                if claims.claim(session, wanted, holder="w", host="h", lease=LEASE):
                    claimed += 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(8))) == 3


def test_a_claim_that_fails_costs_no_turn(slots):
    (first,) = slots.submit("alice")
    slots.submit("bob")
    with slots.database.write() as session:
        stale = claims.Claim(first, 7)
        assert claims.claim(session, stale, holder="w", host="h", lease=LEASE) is None
    assert slots.owners(2) == ["alice", "bob"]


@pytest.mark.parametrize("seed", range(3))
def test_places_in_line_are_the_order_in_which_jobs_start(slots, seed):
    chance = random.Random(seed)
    owners = [f"owner-{number}" for number in range(chance.randint(1, 5))]
    caps = {owner: chance.choice([None, None, 2, 5]) for owner in owners}
    for _ in range(2):  # some have had turns, and some have jobs running
        for owner in chance.sample(owners, len(owners)):
            slots.submit(owner, chance.randint(0, 3), cap=caps[owner])
        claimed = [slots.claim() for _ in range(chance.randint(0, 6))]
        for job_id in filter(None, claimed):
            if chance.random() < 0.6:
                slots.end(job_id)
    for _ in range(12):
        owner = chance.choice(owners)
        slots.submit(owner, cap=caps[owner], priority=chance.randint(-1, 1))
    with slots.database.read() as session:
        waiting = session.scalars(select(Job.id).where(Job.state == "queued")).all()
    places = slots.positions(waiting)
    assert sorted(places.values()) == list(range(1, len(waiting) + 1))
    started = []
    while job_id := slots.claim():
        started.append(job_id)
    assert started == sorted(waiting, key=places.__getitem__)[: len(started)]
    assert {job_id for job_id in waiting if job_id not in started} == set(
        sorted(waiting, key=places.__getitem__)[len(started) :]
    )


def test_however_many_jobs_wait_the_next_is_found_by_the_index(slots):
    if slots.database.engine.dialect.name != "sqlite":
        pytest.skip("the other database plans by its statistics, of which there are none yet")
    statements = [
        *(turns._front(kind, "alice") for kind in ("restoration", "discriminator_training")),
        *(turns._owners_of(kind) for kind in ("restoration", "discriminator_training")),
    ]
    with slots.database.read() as session:
        for statement in statements:
            compiled = statement.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
            plan = session.execute(text(f"EXPLAIN QUERY PLAN {compiled}"))
            searches = [row.detail for row in plan if " jobs " in row.detail]
            assert searches
            assert all("ix_jobs_line (type=?" in detail for detail in searches), searches


def test_every_queue_has_its_turns(slots):
    assert slots.submit("alice")
    with slots.database.read() as session:
        assert [bool(turns.owners(session, queue)) for queue in QUEUE_NAMES] == [False, False, True]
        assert LOCAL.owner not in {owner.name for owner in turns.owners(session, "train")}
