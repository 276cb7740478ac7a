"""Slots that work on some queues only."""

import time
from itertools import pairwise
from pathlib import Path

import pytest

from services.access import Caller, Quotas
from services.jobs import requests
from services.jobs.submission import submit
from services.phase1.recipe import DiscriminatorTraining
from workers.__main__ import main

COUNTING = str(Path(__file__).with_name("counting_worker.py"))


def test_a_light_slot_leaves_trainings_to_others(house):
    house.worker((COUNTING, "--queues", "restore,prepare"))
    training = house.submit("steps=5")
    time.sleep(4)  # it is up, and the reaper has announced again
    assert house.job(training).state == "queued"
    house.worker((COUNTING, "--queues", "train"))
    assert house.wait_for_end(training).state == "succeeded"


def submit_as(house, seed_image, owner, count, *, steps=3, cap=None):
    """Jobs of that owner; their ids."""
    caller = Caller(owner, frozenset({"admin"}), quotas=Quotas(running_jobs=cap))
    spec = DiscriminatorTraining.model_validate(
        {"seed_image_ids": [seed_image.id], "task": {"kind": "sisr"}, "preset": "quick"}
    )
    with house.installation.database.write() as session:
        name = f"steps={steps} step_seconds=0.1"
        jobs = [submit(session, spec, caller=caller, name=name) for _ in range(count)]
    for job in jobs:
        assert house.dispatcher.announce(job.id, job.type)
    return [job.id for job in jobs]


def test_one_owners_many_jobs_do_not_hold_up_another_owners_one(house, seed_image):
    (first,) = submit_as(house, seed_image, "alice", 1, steps=10000)
    many = submit_as(house, seed_image, "alice", 30)
    house.worker((COUNTING, "--queues", "train"))
    house.wait_for_step(first, 1)
    (one,) = submit_as(house, seed_image, "bob", 1)
    house.ask(requests.finish, first)
    ended = house.wait_for_end(one)
    assert ended.state == "succeeded"
    starts = [started for job_id in many if (started := house.job(job_id).started)]
    assert [started for started in starts if started < ended.started] == []


def test_slots_keep_to_the_cap_and_go_on_when_a_job_has_ended(house, seed_image):
    jobs = submit_as(house, seed_image, "alice", 3, cap=1)
    for _ in range(2):
        house.worker((COUNTING, "--queues", "train"))
    ended = sorted(map(house.wait_for_end, jobs), key=lambda job: job.started)
    assert {job.state for job in ended} == {"succeeded"}
    for job, next_one in pairwise(ended):
        assert job.finished <= next_one.started


def test_an_unknown_queue_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["--queues", "restore,trains"])
    assert "no queue 'trains'; there are restore, prepare, train" in capsys.readouterr().err
