"""One attempt to deliver a message: an HTTP request to an address that was checked.

The name is resolved here, each of its addresses is held against `Reach`, and the connection goes
to the very address that passed: a name that means something else a moment later changes nothing.
Host and TLS still see the name. Redirects are not followed, proxies of the environment not asked.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpcore
import httpx

from services.webhooks.reach import Reach

SECONDS = 15.0  # for all of an attempt: name, connection, TLS, request, answer
MAX_ANSWER = 1 << 14  # bytes of an answer that are read; they mean nothing

# The addresses of a host; OSError if it has none.
LookUp = Callable[[str, int], list[str]]


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: `fault` is None if the message has arrived."""

    status: int | None = None
    fault: str | None = None


class Sender:
    """Sends messages within `reach`, each attempt in `seconds` at most."""

    def __init__(
        self, reach: Reach, *, look_up: LookUp | None = None, seconds: float = SECONDS
    ) -> None:
        self.seconds = seconds
        self._network = _CheckedNetwork(reach, look_up or _look_up)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """POST `body`; faults of the receiver, and of the way to it, are the outcome's."""
        target = httpx.URL(url)
        fields = {
            "Host": target.netloc.decode(),
            "User-Agent": "mdf",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
        }
        pool = httpcore.AsyncConnectionPool(
            ssl_context=self._tls if target.scheme == "https" else None,
            network_backend=self._network,
        )
        request = httpcore.Request(
            "POST",
            httpcore.URL(
                scheme=target.raw_scheme,
                host=target.raw_host,
                port=target.port,
                target=target.raw_path,
            ),
            headers=list(fields.items()),
            content=body,
            extensions={
                "timeout": {"connect": self.seconds / 3}
            },  # leaves time for another address
        )
        status = None
        try:
            async with asyncio.timeout(self.seconds), pool:
                answer = await pool.handle_async_request(request)
                status = answer.status
                await _read_some(answer)
        except Exception as error:  # noqa: BLE001 - whatever a receiver may bring about
            if status is None:
                return Outcome(fault=self._explain(error))
        # An answer that breaks off after its status has told all that counts.
        return _judge(status)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    def _explain(self, error: Exception) -> str:
        match error:
            case TimeoutError():
                return f"no answer within {self.seconds:g} s"
            case _UnreachableError():
                return str(error)
            case httpcore.ConnectError() | httpcore.ConnectTimeout():
                cause = error.__cause__ or error.__context__
                if isinstance(cause, ssl.SSLError):
                    return f"TLS failed: {cause.reason or cause}"
                return "no connection: nothing listens there, or something is in the way"
        return "the connection ended before an answer, or the answer was no HTTP"


class _UnreachableError(Exception):
    """There is no address to connect to."""


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses within reach only, whatever names stand for."""

    def __init__(self, reach: Reach, look_up: LookUp) -> None:
        self._reach = reach
        self._look_up = look_up
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address of `host` that is within reach and answers."""
        try:
            addresses = await _in_thread(lambda: self._look_up(host, port))
        except (OSError, UnicodeError):
            addresses = []
        allowed = [address for address in addresses if self._reach.allows(address)]
        if not allowed:
            # The same for a name that is none: which ones there are inside is not told.
            raise _UnreachableError(
                f"{host} cannot be resolved, or leads into a network that may not be called: "
                "only addresses that the whole Internet reaches may, and networks that the "
                "operator lists"
            )
        *others, last = allowed
        for address in others:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
        return await self._network.connect_tcp(last, port, timeout, local_address, socket_options)


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _in_thread(call: Callable[[], list[str]]) -> list[str]:
    """The result of a call that may hang, and must then not hold up the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[str]] = loop.create_future()

    def settle(result: list[str] | Exception) -> None:
        if future.done():  # nobody waits any more
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    def work() -> None:
        try:
            result: list[str] | Exception = call()
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            result = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=work, name="webhook's name", daemon=True).start()
    return await future


async def _read_some(answer: httpcore.Response) -> None:
    received = 0
    async for chunk in answer.aiter_stream():
        received += len(chunk)
        if received > MAX_ANSWER:
            return


def _judge(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome(status)
    if 300 <= status < 400:
        return Outcome(status, f"answered {status}: redirects are not followed")
    return Outcome(status, f"answered {status}")
