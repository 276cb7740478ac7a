"""Submitting beside others who do the same."""

import threading
from contextlib import suppress

import numpy as np
import pytest
from skimage import data

from services import quotas
from services.access import LOCAL, Caller, Quotas
from services.database import hold
from services.database.schema import Image
from services.errors import BadInputError, QuotaExceededError
from services.images import catalogue
from services.jobs import admission, submission
from services.phase1.recipe import DiscriminatorTraining
from tests.waiting import PATIENCE_SECONDS


def spec_of(*image_ids: str) -> DiscriminatorTraining:
    return DiscriminatorTraining.model_validate(
        {"seed_image_ids": image_ids, "task": {"kind": "sisr"}, "preset": "quick"}
    )


@pytest.fixture
def other_image(installation) -> Image:
    pixels = np.ascontiguousarray(data.chelsea()[:96, :96])
    with installation.database.write() as session:
        decoded = catalogue.from_pixels(pixels, {})
        image, _ = catalogue.add(
            session, installation.blobs, decoded, name="chelsea.png", caller=LOCAL
        )
    return image


def test_submits_with_swapped_seeds_do_not_lock_each_other_out(
    installation, seed_image, other_image, monkeypatch
):
    """On SQLite they take turns; on PostgreSQL they hold images, and meet at the first."""
    meeting = threading.Barrier(2)
    hold = admission.hold

    def hold_and_wait_for_the_other(session, name):
        hold(session, name)
        with suppress(threading.BrokenBarrierError):
            meeting.wait(1)  # each has one image now, if nothing keeps them from it

    monkeypatch.setattr(admission, "hold", hold_and_wait_for_the_other)
    ids = [seed_image.id, other_image.id]
    faults = []

    def submit(image_ids):
        try:
            with installation.database.write() as session:
                submission.submit(session, spec_of(*image_ids), caller=LOCAL)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=submit, args=(order,)) for order in (ids, ids[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert faults == []


def test_the_seed_at_fault_is_pointed_to_in_the_order_of_the_request(installation, seed_image):
    unknown = "img_" + "0" * 26
    with (
        installation.database.write() as session,
        pytest.raises(BadInputError, match=unknown) as caught,
    ):
        submission.submit(session, spec_of(seed_image.id, unknown), caller=LOCAL)
    assert [problem.pointer for problem in caught.value.problems] == ["/seed_image_ids/1"]


def test_a_full_queue_is_told_of_before_what_the_spec_names(installation, seed_image):
    full = Caller(LOCAL.owner, LOCAL.scopes, quotas=Quotas(queued_jobs=0))
    with (
        installation.database.write() as session,
        pytest.raises(QuotaExceededError, match="0 queued jobs of the 0 allowed"),
    ):
        submission.submit(session, spec_of(seed_image.id, "img_0"), caller=full)


def test_quotas_are_not_held_while_images_are_waited_for(installation, seed_image, monkeypatch):
    """On SQLite they take turns; on PostgreSQL one has the image, as an upload has, and asks."""
    anna = Caller(LOCAL.owner, LOCAL.scopes, quotas=Quotas(queued_jobs=5, stored_bytes=10**9))
    has_image, goes_for_images = threading.Event(), threading.Event()
    admit = submission.admit

    def tell_and_admit(*given):
        goes_for_images.set()
        return admit(*given)

    monkeypatch.setattr(submission, "admit", tell_and_admit)
    faults = []

    def submit():
        has_image.wait(PATIENCE_SECONDS)
        try:
            with installation.database.write() as session:
                submission.submit(session, spec_of(seed_image.id), caller=anna)
        except Exception as error:
            faults.append(error)

    thread = threading.Thread(target=submit)
    thread.start()
    with installation.database.write() as session:
        hold(session, seed_image.digest)
        has_image.set()
        goes_for_images.wait(1)
        quotas.check_storage(session, anna, 1)
    thread.join(PATIENCE_SECONDS)
    assert faults == []
