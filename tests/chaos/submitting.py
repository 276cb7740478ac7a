"""Clients that submit under idempotency keys, whatever becomes of the service meanwhile."""

import threading
import time
from uuid import uuid4

import httpx


class Clients:
    """Submit jobs all the time, each again under its key until it is accepted."""

    def __init__(
        self, url: str, image_id: str, *, count: int, pause: float, name: str = ""
    ) -> None:
        self.body = {
            "seed_image_ids": [image_id],
            "task": {"kind": "sisr"},
            "preset": "quick",
            "name": name,
        }
        self.accepted: dict[str, str] = {}
        self.repeats = 0
        self.faults: list[str] = []
        self._url = url
        self._pause = pause
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._submit_all) for _ in range(count)]
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
                time.sleep(self._pause)

    def _submit(self, http: httpx.Client, key: str) -> None:
        while True:
            try:
                answer = http.post("/v1/jobs", json=self.body, headers={"Idempotency-Key": key})
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
