"""What every request gets: an id, a line in the log, a place in the metrics, a last resort."""

import logging
import re
import time
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import internal_problem, problem
from api.metrics import RequestMetrics

_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
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
        status = 0
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
        except Exception:
            _log.exception("%s: %s %s failed", request_id, scope["method"], scope["path"])
            if status:
                raise  # too late for another answer: the server closes the connection
            await internal_problem(scope)(scope, receive, watch)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.observe(scope["method"], route, status, seconds)
            _log.info(
                "%s: %s %r %d in %.1f ms",
                request_id,
                scope["method"],
                scope["path"],
                status,
                seconds * 1000,
            )
