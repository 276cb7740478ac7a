"""Webhooks, jobs that end, and what is in the outbox."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from services.access import LOCAL, Caller
from services.database.schema import Image, Job, Webhook, WebhookDelivery
from services.installation import Installation
from services.jobs import requests, submission
from services.phase1.recipe import DiscriminatorTraining
from services.settings import Settings
from services.webhooks import catalogue


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
