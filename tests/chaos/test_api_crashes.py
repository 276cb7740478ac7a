"""The API dies while clients submit: what it promised is there, and nothing is there twice."""

import threading
import time
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import func, select

from services.database.schema import IdempotencyKey, Job
from services.settings import Settings

CLIENTS = 8


class Clients:
    """Submit jobs all the time, each again under its key until it is accepted."""

    def __init__(self, url: str, image_id: str) -> None:
        self.accepted: dict[str, str] = {}
        self.repeats = 0
        self.faults: list[str] = []
        self._url = url
        self._body = {"seed_image_ids": [image_id], "task": {"kind": "sisr"}, "preset": "quick"}
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._submit_all) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each have its last job accepted."""
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _submit_all(self) -> None:
        with httpx.Client(base_url=self._url, timeout=10) as http:
            while not self._done.is_set():
                self._submit(http, uuid4().hex)
                time.sleep(0.02)

    def _submit(self, http: httpx.Client, key: str) -> None:
        while True:
            try:
                answer = http.post("/v1/jobs", json=self._body, headers={"Idempotency-Key": key})
            except httpx.TransportError:  # whether the job was made, it cannot know
                self.repeats += 1
                time.sleep(0.1)
                continue
            if answer.status_code == 202:
                self.accepted[key] = answer.json()["id"]
                return
            if answer.status_code not in (409, 503):  # being done, or busy
                self.faults.append(f"{key} was answered {answer.status_code}: {answer.text}")
                return
            time.sleep(0.05)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As many jobs as the clients can submit may wait: none is worked on."""
    return settings.model_copy(update={"queued_jobs": 10**6, "max_queued_jobs": 10**6})


def test_what_the_api_accepted_before_it_was_killed_is_there_once(
    api, broker, installation, seed_image, count, chance, figures
):
    with figures("7", "API `kill -9` under submits", count(short=1, full=50)) as scenario:
        api.start()
        clients = Clients(api.url, seed_image.id)
        try:
            for _ in range(scenario.count):
                time.sleep(chance.uniform(0.2, 2.0))
                api.kill()
                api.start()
            time.sleep(0.5)
        finally:
            clients.stop()
        with installation.database.read() as session:
            jobs = set(session.scalars(select(Job.id)))
            keys = session.scalar(select(func.count()).select_from(IdempotencyKey))
        for key, job_id in clients.accepted.items():
            if job_id not in jobs:
                scenario.violate(f"{job_id}, accepted under {key}, is not there")
        for fault in clients.faults:
            scenario.violate(fault)
        if not len(jobs) == keys == len(clients.accepted):
            scenario.violate(
                f"{len(jobs)} jobs and {keys} keys for {len(clients.accepted)} that were accepted"
            )
        for key, job_id in chance.sample(sorted(clients.accepted.items()), 5):
            again = httpx.post(
                f"{api.url}/v1/jobs", json=clients._body, headers={"Idempotency-Key": key}
            )
            if again.json()["id"] != job_id or "idempotency-replayed" not in again.headers:
                scenario.violate(f"{key} made {job_id}, and now {again.text}")
        scenario.figure("accepted", len(clients.accepted))
        scenario.figure("repeats", clients.repeats)
