"""Turns at what few can do at a time, so that nobody takes them all."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from services.errors import UnavailableError


class Turns:
    """So many at a time as there are lanes, of which an owner has some; used on one event loop.

    The next turn is of the owner whose last one is longest ago, and among an owner's own
    requests, of the one that came first. Where an owner may have fewer lanes than there are, no
    one owner makes others wait, and several make them wait for one request of each at most,
    besides those at work.
    """

    def __init__(
        self, *, lanes: int, lanes_of_owner: int, waiting: int, waiting_of_owner: int
    ) -> None:
        self._lanes = self._free = lanes
        self._lanes_of_owner = lanes_of_owner
        self._most = waiting
        self._most_of_owner = waiting_of_owner
        self._at_work: Counter[str] = Counter()  # turns that each owner has now
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
            self.pass_on(owner)

    async def take(self, owner: str) -> None:
        """Wait for a turn, which lasts until `pass_on`; raises as `turn` does."""
        if self._may_begin(owner):
            self._begin(owner)
            return
        self._check(owner)
        called = asyncio.get_running_loop().create_future()
        self._waiting[called] = owner
        try:
            await called
        except asyncio.CancelledError:
            self._waiting.pop(called, None)
            if not called.cancelled():  # the turn had come just then
                self.pass_on(owner)
            raise

    def pass_on(self, owner: str) -> None:
        """End a turn of the owner's, and call who is next."""
        self._free += 1
        self._at_work[owner] -= 1
        while ready := [each for each in self._waiting if self._may_begin(self._waiting[each])]:
            called = min(ready, key=lambda each: self._last.get(self._waiting[each], 0))
            next_owner = self._waiting.pop(called)
            if not called.cancelled():
                self._begin(next_owner)
                called.set_result(None)
        if self._free == self._lanes:
            self._last.clear()
            self._at_work.clear()

    def _may_begin(self, owner: str) -> bool:
        return self._free > 0 and self._at_work[owner] < self._lanes_of_owner

    def _begin(self, owner: str) -> None:
        self._free -= 1
        self._at_work[owner] += 1
        self._last[owner] = next(self._numbers)

    def _check(self, owner: str) -> None:
        if list(self._waiting.values()).count(owner) >= self._most_of_owner:
            raise UnavailableError(
                f"{self._most_of_owner} requests of {owner} wait already for work of this kind, "
                f"which is done {self._lanes_of_owner} at a time for an owner: try again when one "
                "of them is done"
            )
        if len(self._waiting) >= self._most:
            raise UnavailableError(
                f"{self._most} requests wait already for work of this kind, which is done "
                f"{self._lanes} at a time: try again in a moment"
            )
