"""How often callers may ask, in the headers of the IETF's draft on rate limits.

`RateLimit-Policy: "requests";q=6000;w=60` says that 6000 requests in 60 seconds are allowed;
`RateLimit: "requests";r=5990;t=1` that 5990 may follow at once, and all of them in a second.
"""

import math
from collections import OrderedDict
from hashlib import sha256
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import is_free, is_open, refuse
from services import quotas
from services.access import Caller
from services.errors import RateLimitedError
from services.rates import WINDOW_SECONDS, Rates, Standing
from services.settings import Settings

# Keys that have been let in lately, kept as digests.
_KNOWN_KEYS = 10_000
_POLICY = "requests"
# How those are answered who show no key that counts: API, pages and connections.
_REFUSED = frozenset({401, 303, 1008})
# In the state of a request, the bucket of its address, if its key is not known.
_UNPROVEN = "unproven"
_BEGINNINGS = frozenset({"http.response.start", "websocket.accept", "websocket.close"})


class RequestLimit:
    """Holds callers to their quotas: lies behind the Guard, which finds out who they are."""

    def __init__(self, app: ASGIApp, rates: Rates, settings: Settings) -> None:
        self._app = app
        self._rates = rates
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, if its key has any left."""
        state = scope.get("state", {})
        caller: Caller | None = state.get("caller")
        if caller is None:
            await self._app(scope, receive, send)
            return
        if _UNPROVEN in state:
            guesses = self._settings.failed_keys_per_minute
            standing = await self._rates.look(state[_UNPROVEN], guesses)
            if not standing.allowed:
                del state["caller"]  # whether the key is right is not told now
                await refuse(scope, _too_many_guesses(standing), receive, send)
                return
        caller = state["caller"] = quotas.in_force(caller, self._settings)
        per_minute = caller.quotas.requests_per_minute
        if per_minute is None:
            await self._app(scope, receive, send)
            return
        standing = await self._rates.take(f"key:{caller.key_id}", per_minute)

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Policy"] = f'"{_POLICY}";q={per_minute};w={WINDOW_SECONDS}'
                left, full = standing.remaining, math.ceil(standing.full_in)
                headers["RateLimit"] = f'"{_POLICY}";r={left};t={full}'
            await send(message)

        if standing.allowed:
            await self._app(scope, receive, tell)
            return
        await refuse(scope, _too_many(standing, per_minute), receive, tell)


async def count_request(rates: Rates, caller: Caller) -> None:
    """Count what a caller does, whose quotas are those in force, as a request of their key.

    Raises: RateLimitedError if the key has none left.
    """
    per_minute = caller.quotas.requests_per_minute
    if per_minute is None:
        return
    standing = await rates.take(f"key:{caller.key_id}", per_minute)
    if not standing.allowed:
        raise _too_many(standing, per_minute)


class GuessLimit:
    """Refuses addresses that try keys which are none: lies before the Guard, and asks nobody.

    A key is tried by any request that shows one, for pages and connections too, and by logging
    in. A key that was let in lately still is, whatever others behind the same address do.
    Cookies are not counted: browsers show old ones by themselves.

    A wrong key is taken from the bucket when it was found to be wrong, before that is told. While
    the bucket is empty, all keys that are not known get the same answer, the right ones too, which
    the RequestLimit sees to: however many are tried at once, no more is learned than one by one.
    """

    def __init__(self, app: ASGIApp, rates: Rates, settings: Settings) -> None:
        self._app = app
        self._rates = rates
        self._per_minute = settings.failed_keys_per_minute
        self._known: OrderedDict[bytes, None] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, and count it if its key turns out to be none."""
        is_login = scope["type"] == "http" and is_open(scope["method"], scope["path"])
        key = None if is_login else _key_shown(scope)  # of one who logs in, it stands in the body
        if key is None and not is_login:
            await self._app(scope, receive, send)
            return
        address = f"address:{_network(scope)}"
        if key not in self._known:
            standing = await self._rates.look(address, self._per_minute)
            if not standing.allowed:
                await refuse(scope, _too_many_guesses(standing), receive, send)
                return
            scope.setdefault("state", {})[_UNPROVEN] = address
        is_refused = False

        async def watch(message: Message) -> None:
            nonlocal is_refused
            if message["type"] in _BEGINNINGS:
                state = scope.get("state", {})
                is_let_in = "caller" in state
                status = message.get("status", message.get("code"))
                is_wrong = not is_let_in and status in _REFUSED
                if key is not None and (is_let_in or is_wrong):
                    self._note(key, known=is_let_in)
                if is_wrong or (not is_let_in and _UNPROVEN in state):
                    ask = self._rates.take if is_wrong else self._rates.look
                    standing = await ask(address, self._per_minute)
                    # A connection that is closed is told no reason.
                    is_refused = not standing.allowed and scope["type"] == "http"
                    if is_refused:
                        await refuse(scope, _too_many_guesses(standing), receive, send)
            if not is_refused:
                await send(message)

        await self._app(scope, receive, watch)

    def _note(self, key: bytes, *, known: bool) -> None:
        self._known.pop(key, None)
        if known:
            self._known[key] = None
            if len(self._known) > _KNOWN_KEYS:
                self._known.popitem(last=False)


def _key_shown(scope: Scope) -> bytes | None:
    """The digest of the key by which a request asks to be let in; None if it shows none."""
    if scope["type"] == "lifespan" or (scope["type"] == "http" and is_free(scope["path"])):
        return None
    kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    return sha256(token.strip().encode()).digest() if kind.lower() == "bearer" else None


def _too_many(standing: Standing, per_minute: int) -> RateLimitedError:
    return _refusal(
        standing, f"this API key may send {per_minute} requests a minute (requests_per_minute)"
    )


def _too_many_guesses(standing: Standing) -> RateLimitedError:
    return _refusal(standing, "too many requests with wrong API keys have come")


def _refusal(standing: Standing, reason: str) -> RateLimitedError:
    seconds = max(1, math.ceil(standing.next_in))
    return RateLimitedError(f"{reason}: try again in {seconds} s", retry_after=seconds)


def _network(scope: Scope) -> str:
    """Where a request comes from: one has an IPv4 address, or 2⁶⁴ IPv6 addresses."""
    client = scope.get("client")
    try:
        address = ip_address(client[0] if client else "")
    except ValueError:
        return "unknown"
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
