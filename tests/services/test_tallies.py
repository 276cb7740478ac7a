"""Tallies: what is counted is counted once, whoever counts and whatever fails."""

import pytest
from sqlalchemy.orm import Session

from services import tallies
from services.installation import Installation
from services.tallies import Count, Time


def test_numbers_rise_by_label(installation: Installation) -> None:
    for job_type in ("restoration", "restoration", "evaluation"):
        with installation.database.write() as session:
            tallies.count(session, Count.CLAIMS, type=job_type)
            tallies.count(session, Count.CLAIMS, type=job_type)
    with installation.database.read() as session:
        assert tallies.counts(session, Count.CLAIMS) == {
            (("type", "evaluation"),): 2,
            (("type", "restoration"),): 4,
        }
        assert tallies.counts(session, Count.ATTEMPTS_LOST) == {}


def test_labels_have_one_order(installation: Installation) -> None:
    with installation.database.write() as session:
        tallies.count(session, Count.JOBS_ENDED, type="t", state="s", code="")
        tallies.count(session, Count.JOBS_ENDED, code="", state="s", type="t")
    with installation.database.read() as session:
        counted = tallies.counts(session, Count.JOBS_ENDED)
    assert counted == {(("code", ""), ("state", "s"), ("type", "t")): 2}


def test_what_is_rolled_back_was_not_counted(installation: Installation) -> None:
    with Session(installation.database.engine) as session:
        session.begin()
        tallies.count(session, Count.CLAIMS, type="restoration")
        session.rollback()
        session.commit()
    with installation.database.read() as session:
        assert tallies.counts(session, Count.CLAIMS) == {}


def test_times_fall_into_buckets_that_hold_their_upper_bound(installation: Installation) -> None:
    with installation.database.write() as session:
        for seconds in (0.2, 1, 1.1, 3600, 10_000_000):
            tallies.measure(session, Time.WAIT, seconds, type="restoration")
        tallies.measure(session, Time.WAIT, -0.5, type="evaluation")  # clocks of two machines
    with installation.database.read() as session:
        found = tallies.times(session, Time.WAIT)
    measured = found[(("type", "restoration"),)]
    assert dict(zip(tallies.BOUNDS, measured.counts, strict=False)) == {
        **dict.fromkeys(tallies.BOUNDS, 0),
        1: 2,
        5: 1,
        3600: 1,
    }
    assert measured.counts[-1] == 1
    assert measured.sum == pytest.approx(10_003_602.3)
    assert (found[(("type", "evaluation"),)].counts[0], found[(("type", "evaluation"),)].sum) == (
        1,
        0,
    )
