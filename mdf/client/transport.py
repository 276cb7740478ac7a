"""Requests to the service: errors as exceptions, and retries where a repeat does no harm."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from mdf.errors import ApiError, FieldProblem, MDFError, ProtocolError, UnreachableError

# The server refused before it did anything, or a proxy had no server to ask.
_RETRIED_STATUSES = frozenset({429, 502, 503})
# Refusals with such a status that last until somebody does something, or jobs have ended.
_LASTING = frozenset({"quota_exceeded", "queue_full"})
_SAFE_METHODS = frozenset({"GET", "HEAD"})
# The request never reached a server, whatever its method.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_LONGEST_WAIT = 30.0


class Transport:
    """One server, reached over kept-alive connections.

    A request that failed on its way, or was answered 429, 502 or 503, is sent again up to
    `retries` times, waiting longer each time, if a repeat is harmless: it reads, or it
    creates under an `Idempotency-Key`, or it never left this machine, or it was refused as
    one too many in too short a time. A quota that is used up is no reason to wait.
    """

    def __init__(self, url: str, api_key: str | None, *, timeout: float, retries: int) -> None:
        address = urlsplit(url)
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise MDFError(f"the server's address is {url!r}; it must look like http://host:8000")
        self.url = url.rstrip("/")
        self._retries = retries
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
            # A proxy of the environment cannot reach this machine's own loopback.
            trust_env=address.hostname not in {"localhost", "127.0.0.1", "::1"},
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """The JSON at `path`; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return _json(self.send(self._http.build_request("GET", path, params=given)))

    def get_text(self, path: str) -> str:
        """The text at `path`."""
        return self.send(self._http.build_request("GET", path)).text

    def get_bytes(self, path: str) -> bytes:
        """The bytes at `path`."""
        return self.send(self._http.build_request("GET", path)).content

    def create(self, path: str, **content: Any) -> Any:
        """POST that makes a new object; done once, however often it is sent."""
        return _json(self.creation(path, **content))

    def creation(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        at_least: float = 0.0,
        **content: Any,
    ) -> httpx.Response:
        """`create`, and the whole answer; it may take `at_least` so many seconds."""
        customary = self._http.timeout
        request = self._http.build_request(
            "POST",
            path,
            headers={"Idempotency-Key": uuid4().hex, **(headers or {})},
            timeout=httpx.Timeout(max(customary.read or 0.0, at_least), connect=customary.connect),
            **content,
        )
        return self.send(request)

    def ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        """The whole answer to a request, which is sent once unless it only reads."""
        return self.send(self._http.build_request(method, path, **content))

    def act(self, path: str, *, method: str = "POST", **content: Any) -> Any:
        """A request that changes an object; sent once."""
        return _json(self.send(self._http.build_request(method, path, **content)))

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send, repeat as far as that is harmless, and raise ApiError for a refusal."""
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = self._http.send(request)
            except httpx.TransportError as error:
                if last or not (_harmless(request) or isinstance(error, _UNSENT)):
                    raise self.unreachable(error) from error
                wait = _backoff(attempt)
            else:
                if last or not _worth_repeating(response):
                    _check(response)
                    return response
                wait = _retry_after(response) or _backoff(attempt)
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str], read_timeout: float, **params: Any
    ) -> Iterator[httpx.Response]:
        """GET `path` and hand out the answer as it arrives; sent once.

        Faults of the connection come out as UnreachableError, also those while reading.
        """
        request = self._http.build_request(
            "GET",
            path,
            params=params,
            headers=dict(headers),
            timeout=httpx.Timeout(read_timeout, connect=5.0),
        )
        try:
            response = self._http.send(request, stream=True)
            try:
                if response.is_error:
                    response.read()
                    _check(response)
                yield response
            finally:
                response.close()
        except httpx.TransportError as error:
            raise self.unreachable(error) from error

    def unreachable(self, error: httpx.TransportError) -> UnreachableError:
        """The connection's fault in words."""
        reason = str(error) or type(error).__name__
        return UnreachableError(f"no answer from the server at {self.url}: {reason}")


def _harmless(request: httpx.Request) -> bool:
    return request.method in _SAFE_METHODS or "Idempotency-Key" in request.headers


def _worth_repeating(response: httpx.Response) -> bool:
    code = _problem(response).get("code")
    if code == "rate_limited":  # nothing was done
        return True
    if not _harmless(response.request):
        return False
    if response.status_code in _RETRIED_STATUSES:
        return code not in _LASTING
    # The same creating request is still being worked on: its answer comes soon.
    return (
        response.status_code == 409
        and "Idempotency-Key" in response.request.headers
        and code == "idempotency_key_in_flight"
    )


def _backoff(attempt: int) -> float:
    return 0.25 * (1 << attempt) * random.uniform(0.75, 1.25)  # noqa: S311 - spreads callers in time


def _retry_after(response: httpx.Response) -> float | None:
    seconds = response.headers.get("Retry-After", "")
    return min(float(seconds), _LONGEST_WAIT) if seconds.isdecimal() else None


def _json(response: httpx.Response) -> Any:
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError as error:
        raise ProtocolError(
            f"{response.request.url} answered with something that is not JSON; "
            "is this the address of an MDF server?"
        ) from error


def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    problem = _problem(response)
    title = problem.get("title") or response.reason_phrase or "error"
    raise ApiError(
        status=response.status_code,
        code=str(problem.get("code", "unknown")),
        detail=str(problem.get("detail") or f"{response.status_code} {title} for {response.url}"),
        errors=tuple(
            FieldProblem(str(item.get("pointer", "")), str(item.get("detail", "")))
            for item in problem.get("errors") or ()
        ),
        request_id=problem.get("request_id") or response.headers.get("X-Request-ID"),
        retry_after=_retry_after(response),
    )


def _problem(response: httpx.Response) -> dict[str, Any]:
    """The RFC 9457 object of a refusal; empty if something else answered."""
    if "json" not in response.headers.get("Content-Type", ""):
        return {}
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
