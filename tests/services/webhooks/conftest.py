"""Receivers of webhooks: real HTTP servers on this machine, good ones and bad ones."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import select

from services.access import LOCAL, Caller
from services.database.schema import Image, Job, Webhook, WebhookDelivery
from services.installation import Installation
from services.jobs import requests, submission
from services.phase1.recipe import DiscriminatorTraining
from services.settings import Settings
from services.webhooks import catalogue

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Received:
    """One request that has arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass
class Receiver:
    """A server that keeps what it gets, and answers as `answer` says."""

    answer: Answer
    received: list[Received] = field(default_factory=list)

    def __post_init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append(
                    Received(self.path, dict(self.headers), body, time.monotonic())
                )
                receiver.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=s3cr3t"

    def wait(self, count: int = 1, seconds: float = 10) -> list[Received]:
        """What has arrived, once it is so many."""
        end = time.monotonic() + seconds
        while len(self.received) < count:
            assert time.monotonic() < end, f"{len(self.received)} of {count} have arrived"
            time.sleep(0.01)
        return self.received

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    """An answer like any."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return write


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    """Start a receiver that answers with a status, or as it is told."""
    opened: list[Receiver] = []

    def start(how: int | Answer = 204, **headers: str) -> Receiver:
        receiver = Receiver(answer(how, **headers) if isinstance(how, int) else how)
        opened.append(receiver)
        return receiver

    yield start
    for receiver in opened:
        receiver.close()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """An operator who lets webhooks call this machine."""
    return settings.model_copy(update={"webhook_networks": "127.0.0.0/8"})


@pytest.fixture
def add_webhook(installation: Installation) -> Callable[..., Webhook]:
    """Make a webhook."""

    def add(url: str, **fields) -> Webhook:
        caller = fields.pop("caller", LOCAL)
        with installation.database.write() as session:
            webhook, _ = catalogue.create(
                session, installation.settings, caller=caller, url=url, **fields
            )
        return webhook

    return add


@pytest.fixture
def ping(installation: Installation) -> Callable[..., WebhookDelivery]:
    """Put a message into a webhook's outbox."""

    def put(webhook: Webhook) -> WebhookDelivery:
        with installation.database.write() as session:
            return catalogue.ping(session, webhook.id, LOCAL)

    return put


@pytest.fixture
def submit(installation: Installation, seed_image: Image) -> Callable[..., Job]:
    """Queue a job."""

    def put(caller: Caller = LOCAL) -> Job:
        spec = {"seed_image_ids": [seed_image.id], "task": {"kind": "sisr"}, "preset": "quick"}
        with installation.database.write() as session:
            checked = DiscriminatorTraining.model_validate(spec)
            job = submission.submit(session, checked, caller=LOCAL, name="astronaut")
            job.owner = caller.owner
        return job

    return put


@pytest.fixture
def cancel(installation: Installation) -> Callable[[Job], Job]:
    """End a job."""

    def ask(job: Job) -> Job:
        with installation.database.write() as session:
            return requests.cancel(session, job.id, LOCAL)

    return ask


@pytest.fixture
def outbox(installation: Installation) -> Callable[[], list[WebhookDelivery]]:
    """All messages, the oldest first."""

    def read() -> list[WebhookDelivery]:
        with installation.database.read() as session:
            return list(session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id)))

    return read
