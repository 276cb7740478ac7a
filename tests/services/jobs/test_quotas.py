"""Quotas hold on both databases, also for those who ask at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from services import quotas, usage
from services.access import LOCAL, Caller, Quotas
from services.errors import BadInputError, QueueFullError, QuotaExceededError
from services.images import catalogue
from services.jobs.submission import submit
from services.settings import Settings

ASKING = 8


def anna(**allowed):
    return Caller("anna", frozenset({"admin"}), "key_a", quotas=Quotas(**allowed))


def at_once(work):
    """What comes of `work`, done by several at the same time."""
    together = threading.Barrier(ASKING)

    def one(number):
        together.wait()
        try:
            work(number)
        except QuotaExceededError:
            return False
        return True

    with ThreadPoolExecutor(ASKING) as pool:
        return list(pool.map(one, range(ASKING)))


def noise(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    return catalogue.from_pixels(pixels, {})


def test_uploads_at_the_same_time_do_not_exceed_the_quota(installation):
    pictures = [noise(seed) for seed in range(ASKING)]
    caller = anna(stored_bytes=3 * max(len(each.png) for each in pictures))

    def upload(number):
        with installation.database.write() as session:
            catalogue.add(
                session, installation.blobs, pictures[number], name="noise", caller=caller
            )

    assert at_once(upload).count(True) == 3
    with installation.database.read() as session:
        assert usage.of_owner(session, "anna").kinds["images"].count == 3
    assert len(installation.blobs.keys("images")) == 3


def test_submissions_at_the_same_time_do_not_exceed_the_quota(desk, installation):
    def send(_):
        with installation.database.write() as session:
            submit(session, desk.spec, caller=anna(queued_jobs=3))

    assert at_once(send).count(True) == 3


def test_the_service_takes_so_many_jobs_of_all_owners(desk, installation):
    desk.submit()
    with installation.database.write() as session:
        submit(session, desk.spec, caller=anna(all_queued_jobs=2))
    with (
        pytest.raises(QueueFullError, match="2 jobs wait already, of 2 that"),
        installation.database.write() as session,
    ):
        submit(session, desk.spec, caller=anna(all_queued_jobs=2))


def test_the_size_of_a_quota_can_be_used_up_to_the_byte(installation):
    picture = noise(0)
    with installation.database.write() as session:
        for allowed in (len(picture.png) - 1, 0):
            with pytest.raises(QuotaExceededError, match="anna has stored 0 bytes of the"):
                quotas.check_storage(session, anna(stored_bytes=allowed), len(picture.png))
        caller = anna(stored_bytes=len(picture.png))
        quotas.check_storage(session, caller, 0)
        catalogue.add(session, installation.blobs, picture, name="", caller=caller)
        with pytest.raises(QuotaExceededError):
            quotas.check_storage(session, caller, 0)


def test_a_keys_own_quotas_go_before_the_settings():
    settings = Settings(requests_per_minute=10, stored_bytes=20, queued_jobs=30, running_jobs=40)
    caller = quotas.in_force(anna(stored_bytes=0, running_jobs=1000), settings)
    assert caller.quotas == Quotas(10, 0, 30, 1000, 10_000)
    assert replace(caller, quotas=Quotas()) == anna()
    assert quotas.in_force(LOCAL, settings).quotas == Quotas(None, 20, 30, 40, 10_000)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"requests_per_minute": 0}, "requests_per_minute is 0: it must be a whole number from 1"),
        ({"running_jobs": 0}, "running_jobs is 0"),
        ({"stored_bytes": -1}, "stored_bytes is -1: it must be a whole number from 0"),
        ({"all_queued_jobs": 5}, "there is no quota 'all_queued_jobs'"),
    ],
)
def test_a_quota_that_cannot_be_is_refused(wanted, message):
    with pytest.raises(BadInputError, match=message):
        quotas.checked(wanted)
