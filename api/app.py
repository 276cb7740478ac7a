"""The application: routes, error answers and what every request passes through."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api import creation, errors
from api.access import Guard
from api.bodies import FORM_LIMITS, BodyCap
from api.errors import ProblemDetails
from api.metrics import RequestMetrics
from api.observation import Observation
from api.routers import (
    datasets,
    images,
    jobs,
    keys,
    losses,
    models,
    operations,
    reports,
    restoration,
    synthesis,
)
from api.runtime import Runtime
from services.installation import Installation

DESCRIPTION = """\
Trains task-specific image-restoration losses (MDF) on one image, trains restoration networks with
them on your images, and restores images.

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
        yield
        await runtime.close()

    app = FastAPI(
        title="MDF",
        version=version("mdf"),
        description=DESCRIPTION,
        lifespan=lifespan,
        form_limits=FORM_LIMITS,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # A path with a slash too many is another path; a redirect would lose the body.
        redirect_slashes=False,
    )
    app.state.runtime = runtime
    # Listed from the innermost to the outermost.
    app.add_middleware(BodyCap, settings=installation.settings)
    app.add_middleware(Guard, installation=installation)
    app.add_middleware(Observation, metrics=RequestMetrics(runtime.registry))
    errors.install(app)
    creation.install(app)
    # The streams first: they take what asks for them, and leave the rest.
    app.include_router(reports.streams)
    for module in (
        operations,
        synthesis,
        images,
        datasets,
        jobs,
        reports,
        losses,
        models,
        restoration,
        keys,
    ):
        app.include_router(module.router)
    _document_problems(app)
    return app


def _document_problems(app: FastAPI) -> None:
    """Let OpenAPI describe refusals as they are, not as the framework's own."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            components = schema["components"]["schemas"]
            problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
            components |= problem.pop("$defs")
            components["ProblemDetails"] = problem
            refusal = errors.documented(422)[422]
            for path in schema["paths"].values():
                for operation in path.values():
                    if "422" in operation["responses"]:
                        operation["responses"]["422"] = refusal
            for name in ("HTTPValidationError", "ValidationError"):
                components.pop(name, None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
