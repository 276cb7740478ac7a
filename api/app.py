"""The application: routes, error answers and what every request passes through."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from api import creation, errors, openapi, reference
from api.access import Guard
from api.bodies import FORM_LIMITS, BodyCap
from api.limits import GuessLimit, RequestLimit
from api.metrics import RequestMetrics
from api.observation import Observation
from api.routers import (
    datasets,
    evaluations,
    images,
    jobs,
    keys,
    losses,
    measurements,
    models,
    operations,
    previews,
    reports,
    restoration,
    sessions,
    synthesis,
    usage,
    webhooks,
)
from api.runtime import Runtime
from api.security_headers import SecurityHeaders
from api.studio import hosting
from services.installation import Installation
from services.webhooks.courier import Courier

DESCRIPTION = """\
Trains task-specific image-restoration losses (MDF) on one image, trains restoration networks with
them on your images, restores images, and compares models by measurement.

Upload a seed image, submit a job, follow its events, download the loss. Upload a data set, submit
a training, download the model or send it images. Every refusal is
`application/problem+json` (RFC 9457) with a `code` for programs. Lists come in pages:
`?limit&cursor`. Creating requests take an `Idempotency-Key`.
"""


def create_app(installation: Installation) -> FastAPI:
    """The application of one installation, which stays its owner's to close."""
    runtime = Runtime.open(installation)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        deliveries = asyncio.create_task(Courier(installation).run(), name="webhooks")
        async with hosting.running():
            yield
        deliveries.cancel()
        await asyncio.gather(deliveries, return_exceptions=True)
        await runtime.close()

    app = FastAPI(
        title="MDF",
        version=version("mdf"),
        description=DESCRIPTION,
        lifespan=lifespan,
        form_limits=FORM_LIMITS,
        openapi_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # A path with a slash too many is another path; a redirect would lose the body.
        redirect_slashes=False,
    )
    app.state.runtime = runtime
    # Listed from the innermost to the outermost.
    app.add_middleware(BodyCap, settings=installation.settings)
    app.add_middleware(RequestLimit, rates=runtime.rates, settings=installation.settings)
    app.add_middleware(Guard, installation=installation)
    app.add_middleware(GuessLimit, rates=runtime.rates, settings=installation.settings)
    app.add_middleware(Observation, metrics=RequestMetrics(runtime.registry))
    app.add_middleware(SecurityHeaders)
    errors.install(app)
    creation.install(app)
    # The streams first: they take what asks for them, and leave the rest.
    app.include_router(reports.streams)
    for module in (
        operations,
        synthesis,
        images,
        measurements,
        previews,
        datasets,
        jobs,
        reports,
        losses,
        models,
        restoration,
        evaluations,
        keys,
        sessions,
        usage,
        webhooks,
    ):
        app.include_router(module.router)
    openapi.install(app)
    reference.install(app)
    hosting.install(app, runtime)
    return app
