"""The API dies while it sends, and receivers fail in every way: each end of a job is told."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from itertools import count as counted

import pytest
from sqlalchemy import select, update

from mdf.errors import WebhookError
from mdf.webhooks import verify
from services.access import LOCAL
from services.database.schema import Image, Job, WebhookDelivery, now
from services.installation import Installation
from services.jobs import requests
from services.jobs.submission import submit
from services.phase1.recipe import DiscriminatorTraining
from services.settings import Settings
from services.webhooks import catalogue
from services.webhooks.courier import WAITS


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """An operator who lets webhooks call this machine."""
    return settings.model_copy(update={"webhook_networks": "127.0.0.0/8"})


class _CrashError(Exception):
    """What comes between an end and its commit."""


class Ends:
    """Jobs that end all the time; every other end is undone by a crash before its commit."""

    def __init__(self, installation: Installation, seed: Image) -> None:
        self.ended: set[str] = set()
        self._installation = installation
        self._spec = DiscriminatorTraining.model_validate(
            {"seed_image_ids": [seed.id], "task": {"kind": "sisr"}, "preset": "quick"}
        )
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._end_all)
        self._thread.start()

    def stop(self) -> None:
        """No more."""
        self._done.set()
        self._thread.join()

    def _end_all(self) -> None:
        for number in counted():
            if self._done.wait(0.03):
                return
            with self._installation.database.write() as session:
                job: Job = submit(session, self._spec, caller=LOCAL)
            with suppress(_CrashError), self._installation.database.write() as session:
                requests.cancel(session, job.id, LOCAL)
                if number % 2:
                    raise _CrashError
                self.ended.add(job.id)


def _unreliable(chance) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        match chance.randrange(5):
            case 0:
                return  # hangs up
            case 1:
                time.sleep(1)
                return
            case 2:
                status = 500
            case 3:
                status = 302
            case _:
                status = 204
        handler.send_response(status)
        handler.send_header("Location", "http://127.0.0.1:1/")
        handler.end_headers()

    return answer


def _let_time_pass(installation: Installation, *, attempts: int) -> None:
    """What waits for hours, or for the end of an attempt that will never come, is due now.

    Only what was tried less often than `attempts`: the last attempts are for a receiver that
    answers.
    """
    with installation.database.write() as session:
        session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.state == "pending", WebhookDelivery.attempts < attempts)
            .values(due=now() - timedelta(seconds=1))
        )


def _states(installation: Installation) -> Counter[str]:
    with installation.database.read() as session:
        return Counter(session.scalars(select(WebhookDelivery.state)))


def test_each_end_of_a_job_is_told_however_often_the_api_is_killed(
    api, broker, installation, seed_image, receive, count, chance, figures
):
    with figures(
        "16", "API `kill -9` while it sends webhooks", count(short=1, full=20)
    ) as scenario:
        receiver = receive(_unreliable(chance))
        with installation.database.write() as session:
            _, secret = catalogue.create(
                session, installation.settings, caller=LOCAL, url=receiver.url
            )
        ends = Ends(installation, seed_image)
        try:
            for _ in range(scenario.count):
                api.start()
                time.sleep(chance.uniform(0.5, 1.5))
                api.kill()
                _let_time_pass(installation, attempts=len(WAITS) - 1)
        finally:
            ends.stop()
        receiver.answer = receive(204).answer
        _let_time_pass(installation, attempts=len(WAITS) + 1)
        api.start()
        finish = time.monotonic() + 60
        while _states(installation)["pending"] and time.monotonic() < finish:
            time.sleep(0.2)

        states = _states(installation)
        if states.keys() != {"delivered"}:
            scenario.violate(f"messages are {dict(states)}; all must have been delivered")
        told: dict[str, set[str]] = {}
        for request in receiver.received:
            try:
                message = verify(secret, request.headers, request.body, tolerance=3600)
            except WebhookError as error:
                scenario.violate(f"a message was refused: {error}")
                continue
            told.setdefault(str(message.data["id"]), set()).add(message.id)
        for job_id in ends.ended - told.keys():
            scenario.violate(f"the end of {job_id} was not told")
        for job_id in told.keys() - ends.ended:
            scenario.violate(f"the end of {job_id} was told, and it did not end")
        for job_id, messages in told.items():
            if len(messages) > 1:
                scenario.violate(f"the end of {job_id} was told by {len(messages)} messages")
        scenario.figure("ends", len(ends.ended), at_least=1)
        scenario.figure("requests", len(receiver.received))
