"""What the routes of one process share, opened when it starts and closed when it stops."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Self, cast

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry
from starlette.requests import ClientDisconnect

from api.announcements import Announcements
from api.bodies import largest_form
from api.event_feeds import EventFeeds
from api.metrics import make_registry
from api.places import Places
from api.readiness import Readiness
from services.installation import Installation
from services.jobs.dispatch import Dispatcher
from services.rates import Rates
from services.turns import Turns
from services.workbench import Workbench

# Pictures that are decoded at one time; one owner leaves one of the decoders to the others. Who
# waits holds no thread: of an owner, more than come at once in a batch of uploads or on a page of
# thumbnails.
DECODERS = 3
DECODERS_OF_OWNER = 2
DECODERS_WAITING = 1024
DECODERS_WAITING_OF_OWNER = 256
# Archives that are taken at one time; each holds a part of a few megabytes in memory.
UPLOADS = 16
UPLOADS_OF_OWNER = 8
# What the forms that are taken at one time may hold: so many of the largest. Their files lie
# in the temporary folder, which may be memory.
FORMS = 8
FORMS_OF_OWNER = 4


@dataclass(frozen=True)
class Runtime:
    """The installation, and the parts that belong to this process."""

    installation: Installation
    dispatcher: Dispatcher
    announcements: Announcements
    feeds: EventFeeds
    workbench: Workbench  # for losses
    restorers: Workbench  # its processes keep the models that they used last
    readiness: Readiness
    registry: CollectorRegistry
    decoders: Turns
    uploads: Places
    forms: Places  # counted in bytes
    rates: Rates
    in_flight: set[tuple[str, str]]  # owners and idempotency keys of requests being done

    @classmethod
    def open(cls, installation: Installation) -> Self:
        """Make the parts; nothing runs yet."""
        dispatcher = Dispatcher(installation.settings)
        feeds = EventFeeds(
            installation.database, streams_per_key=installation.settings.streams_per_key
        )
        form_bytes = largest_form(installation.settings)
        return cls(
            installation=installation,
            dispatcher=dispatcher,
            announcements=Announcements(dispatcher),
            feeds=feeds,
            workbench=Workbench(threads=installation.settings.threads),
            restorers=Workbench(threads=installation.settings.threads),
            readiness=Readiness(installation, dispatcher),
            registry=make_registry(installation, feeds),
            decoders=Turns(
                lanes=DECODERS,
                lanes_of_owner=DECODERS_OF_OWNER,
                waiting=DECODERS_WAITING,
                waiting_of_owner=DECODERS_WAITING_OF_OWNER,
            ),
            uploads=Places(total=UPLOADS, of_owner=UPLOADS_OF_OWNER),
            forms=Places(total=FORMS * form_bytes, of_owner=FORMS_OF_OWNER * form_bytes),
            rates=Rates(installation.settings),
            in_flight=set(),
        )

    async def close(self) -> None:
        """Stop what runs; the installation stays open."""
        await self.feeds.close()
        await self.rates.close()
        self.workbench.close()
        self.restorers.close()
        self.announcements.close()
        self.dispatcher.close()


def _runtime(request: Request) -> Runtime:
    return cast("Runtime", request.app.state.runtime)


async def _shared(request: Request) -> Runtime:
    return _runtime(request)


async def _installed(request: Request) -> Installation:
    return _runtime(request).installation


@asynccontextmanager
async def decoder_turn(request: Request) -> AsyncIterator[None]:
    """A turn of the caller's at the decoders, once it has come; not if the client is gone by then.

    Raises: UnavailableError as `Turns.turn` does; ClientDisconnect.
    """
    await request.is_disconnected()  # the server reads on, so that it hears of the end
    async with _runtime(request).decoders.turn(request.state.caller.owner):
        if await request.is_disconnected():
            raise ClientDisconnect
        yield


Shared = Annotated[Runtime, Depends(_shared)]
Installed = Annotated[Installation, Depends(_installed)]
