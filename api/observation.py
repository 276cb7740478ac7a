"""What every request gets: an id, a line in the log, a place in the metrics, a last resort."""

import logging
import re
import time
from contextlib import AbstractContextManager, nullcontext
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import internal_problem, problem
from api.metrics import RequestMetrics, known_method
from services import logs, telemetry

_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_log = logging.getLogger("api.requests")


class Observation:
    """The outermost middleware. Logs no query strings, headers or bodies: they hold secrets."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch over one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _GIVEN_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        with _traced(scope), logs.about(request_id=request_id, trace_id=telemetry.trace_id()):
            await self._observe(scope, receive, send, request_id)

    async def _observe(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        status = 0
        method = known_method(scope["method"])
        path = scope["path"].replace(" ", "%20")  # one word, as the log takes addresses
        started = time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            if "\0" in scope["path"]:  # no name holds it, and not every database takes it
                nothing = problem(
                    scope, status=404, code="not_found", detail="there is no such path"
                )
                await nothing(scope, receive, watch)
            else:
                await self._app(scope, receive, watch)
        except ClientDisconnect:
            _log.info("%s %r: the client is gone", method, path)
        except Exception as error:
            _log.exception("%s %r failed", method, path)
            telemetry.tell({}, fault=type(error).__name__)
            if status:
                raise  # too late for another answer: the server closes the connection
            await internal_problem(scope)(scope, receive, watch)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.observe(method, route, status, seconds)
            telemetry.tell(
                {"http.route": route, "http.response.status_code": status},
                name=f"{method} {route}",
                fault=str(status) if status >= 500 else None,
            )
            _log.info("%s %r %d in %.1f ms", method, path, status, seconds * 1000)


def _traced(scope: Scope) -> AbstractContextManager[None]:
    """A span for the request, as part of the caller's trace; probes would fill the collector."""
    if scope["path"] in _PROBES:
        return nullcontext()
    method = known_method(scope["method"])
    caller = Headers(scope=scope).get("traceparent")
    return telemetry.span(method, {"http.request.method": method}, kind="server", parent=caller)
