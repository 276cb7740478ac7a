"""Turns at what few can do at a time, so that nobody takes them all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from services.errors import UnavailableError


class Turns:
    """So many at a time as there are lanes; used on one event loop.

    The next turn is of the owner whose last one is longest ago, and among an owner's own
    requests, of the one that came first. So nobody waits for more than one request of each other
    owner, besides those at work.
    """

    def __init__(self, *, waiting: int, of_owner: int, lanes: int = 1) -> None:
        self._most = waiting
        self._most_of_owner = of_owner
        self._lanes = self._free = lanes
        self._waiting: dict[asyncio.Future[None], str] = {}  # owners, in the order they came
        self._numbers = count(1)
        self._last: dict[str, int] = {}  # the number of each owner's last turn

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """A turn of the owner's, once it has come.

        Raises: UnavailableError if as many wait already as may, of this owner or of all.
        """
        await self.take(owner)
        try:
            yield
        finally:
            self.pass_on()

    async def take(self, owner: str) -> None:
        """Wait for a turn, which lasts until `pass_on`; raises as `turn` does."""
        if self._free:
            self._free -= 1
            self._last[owner] = next(self._numbers)
            return
        self._check(owner)
        called = asyncio.get_running_loop().create_future()
        self._waiting[called] = owner
        try:
            await called
        except asyncio.CancelledError:
            self._waiting.pop(called, None)
            if not called.cancelled():  # the turn had come just then
                self.pass_on()
            raise

    def pass_on(self) -> None:
        """End a turn, and call who is next."""
        while self._waiting:
            called = min(self._waiting, key=lambda each: self._last.get(self._waiting[each], 0))
            owner = self._waiting.pop(called)
            if not called.cancelled():
                self._last[owner] = next(self._numbers)
                called.set_result(None)
                return
        self._free += 1
        if self._free == self._lanes:
            self._last.clear()

    def _check(self, owner: str) -> None:
        if list(self._waiting.values()).count(owner) >= self._most_of_owner:
            raise UnavailableError(
                f"{self._most_of_owner} requests of {owner} wait already for work of this kind, "
                f"which is done {self._lanes} at a time: try again when one of them is done"
            )
        if len(self._waiting) >= self._most:
            raise UnavailableError(
                f"{self._most} requests wait already for work of this kind, which is done "
                f"{self._lanes} at a time: try again in a moment"
            )
