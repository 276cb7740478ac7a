"""Slots that work on some queues only."""

import time
from pathlib import Path

import pytest

from workers.__main__ import main

COUNTING = str(Path(__file__).with_name("counting_worker.py"))


def test_a_light_slot_leaves_trainings_to_others(house):
    house.worker((COUNTING, "--queues", "restore,prepare"))
    training = house.submit("steps=5")
    time.sleep(4)  # it is up, and the reaper has announced again
    assert house.job(training).state == "queued"
    house.worker((COUNTING, "--queues", "train"))
    assert house.wait_for_end(training).state == "succeeded"


def test_an_unknown_queue_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["--queues", "restore,trains"])
    assert "no queue 'trains'; there are restore, prepare, train" in capsys.readouterr().err
