"""Whose turn it is at what few can do at a time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.errors import UnavailableError
from services.turns import Turns


class Scene:
    """Turns at which owners have come, each in the order of the calls."""

    def __init__(
        self, *, lanes: int = 1, of_owner: int = 1, waiting: int = 100, waiting_of_owner: int = 10
    ) -> None:
        self.turns = Turns(
            lanes=lanes,
            lanes_of_owner=of_owner,
            waiting=waiting,
            waiting_of_owner=waiting_of_owner,
        )
        self.had: list[str] = []
        self._ended = 0

    async def come(self, *names: str) -> list[asyncio.Task[None]]:
        """Ask for a turn for each name, such as `bob 2`, whose owner is bob."""
        tasks = [asyncio.create_task(self._have(name)) for name in names]
        await _settled()
        return tasks

    async def _have(self, name: str) -> None:
        await self.turns.take(name.partition(" ")[0])
        self.had.append(name)

    async def go_on(self, times: int) -> list[str]:
        """Who has had a turn after so many more have ended, each time the one that began first."""
        for _ in range(times):
            self.end()
            await _settled()
        return self.had

    def end(self) -> None:
        """End the turn that has lasted longest."""
        self.turns.pass_on(self.had[self._ended].partition(" ")[0])
        self._ended += 1


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def work() -> None:
        await asyncio.wait_for(scene(), 60)

    asyncio.run(work())


def test_another_owner_is_next_however_many_of_one_wait() -> None:
    async def work() -> None:
        scene = Scene()
        await scene.come("bob 1", "bob 2", "bob 3", "bob 4", "alice 1")
        assert scene.had == ["bob 1"]
        assert await scene.go_on(1) == ["bob 1", "alice 1"]
        await scene.come("alice 2", "bob 5")
        assert await scene.go_on(5) == [
            *("bob 1", "alice 1", "bob 2", "alice 2", "bob 3", "bob 4", "bob 5")
        ]

    play(work)


def test_owners_take_turns_and_who_is_new_comes_first() -> None:
    async def work() -> None:
        scene = Scene()
        names = [f"{owner} {number}" for owner in ("bob", "alice", "carol") for number in (1, 2, 3)]
        await scene.come(*names)
        await scene.go_on(4)
        await scene.come("dave 1")
        assert await scene.go_on(5) == [
            *("bob 1", "alice 1", "carol 1", "bob 2", "alice 2", "dave 1", "carol 2"),
            *("bob 3", "alice 3", "carol 3"),
        ]

    play(work)


def test_so_many_are_at_work_as_there_are_lanes() -> None:
    async def work() -> None:
        scene = Scene(lanes=2, of_owner=2)
        await scene.come("bob 1", "bob 2", "bob 3", "bob 4", "alice 1", "alice 2", "carol 1")
        assert scene.had == ["bob 1", "bob 2"]
        scene.end()  # both end before those who are called have begun
        assert await scene.go_on(1) == ["bob 1", "bob 2", "alice 1", "carol 1"]
        assert await scene.go_on(3) == [
            *("bob 1", "bob 2", "alice 1", "carol 1", "bob 3", "alice 2", "bob 4")
        ]
        await scene.go_on(2)
        await scene.come("dave 1", "dave 2", "dave 3")
        assert scene.had[-2:] == ["dave 1", "dave 2"], "both lanes are free again, and no more"

    play(work)


def test_one_owner_leaves_a_lane_to_the_others() -> None:
    async def work() -> None:
        scene = Scene(lanes=3, of_owner=2)
        await scene.come("bob 1", "bob 2", "bob 3", "bob 4")
        assert scene.had == ["bob 1", "bob 2"]
        await scene.come("alice 1", "alice 2", "carol 1")
        assert scene.had == ["bob 1", "bob 2", "alice 1"], "at once"
        assert await scene.go_on(1) == ["bob 1", "bob 2", "alice 1", "carol 1"]
        # Alice and carol have a lane each; bob has none, and his last turn is longest ago.
        assert await scene.go_on(1) == ["bob 1", "bob 2", "alice 1", "carol 1", "bob 3"]
        assert await scene.go_on(3) == [
            *("bob 1", "bob 2", "alice 1", "carol 1", "bob 3", "alice 2", "bob 4")
        ]

    play(work)


def test_who_has_all_the_lanes_of_an_owner_keeps_nobody_behind_from_the_free_one() -> None:
    async def work() -> None:
        scene = Scene(lanes=2, of_owner=1)
        await scene.come("bob 1", "bob 2", "alice 1", "alice 2")
        assert scene.had == ["bob 1", "alice 1"]
        scene.turns.pass_on("alice")
        await _settled()
        assert scene.had == ["bob 1", "alice 1", "alice 2"], "as bob has his, and waits before her"
        scene.turns.pass_on("alice")
        await scene.come("carol 1")
        assert scene.had[-1] == "carol 1", "one lane is free, which is not bob's"
        scene.turns.pass_on("bob")
        await _settled()
        assert scene.had[-1] == "bob 2"

    play(work)


def test_an_owner_has_so_many_waiting_and_others_are_let_in_still() -> None:
    async def work() -> None:
        scene = Scene(waiting_of_owner=2)
        await scene.come("bob 1", "bob 2", "bob 3")
        with pytest.raises(UnavailableError, match="2 requests of bob wait already"):
            await scene.turns.take("bob")
        await scene.come("alice 1")
        await scene.go_on(2)
        assert scene.had == ["bob 1", "alice 1", "bob 2"]
        await scene.come("bob 4")
        assert await scene.go_on(2) == ["bob 1", "alice 1", "bob 2", "bob 3", "bob 4"]

    play(work)


def test_all_together_have_so_many_waiting() -> None:
    async def work() -> None:
        scene = Scene(waiting=2)
        await scene.come("bob", "alice", "carol")
        with pytest.raises(UnavailableError, match="2 requests wait already for work"):
            await scene.turns.take("dave")
        await scene.go_on(1)
        await scene.come("dave")
        assert await scene.go_on(2) == ["bob", "alice", "carol", "dave"]

    play(work)


def test_who_has_left_keeps_no_place_and_has_no_turn() -> None:
    async def work() -> None:
        scene = Scene(waiting=2, waiting_of_owner=2)
        await scene.come("bob 1")
        leaving = await scene.come("bob 2", "bob 3")
        for each in leaving:
            each.cancel()
        await asyncio.wait(leaving)
        await scene.come("bob 4", "bob 5")
        assert await scene.go_on(2) == ["bob 1", "bob 4", "bob 5"]
        await scene.go_on(1)
        await scene.come("alice")
        assert scene.had[-1] == "alice", "at once"

    play(work)


@pytest.mark.parametrize("called_first", [True, False])
def test_who_leaves_as_the_turn_comes_passes_it_on(called_first: bool) -> None:
    async def work() -> None:
        scene = Scene()
        await scene.come("bob")
        leaving, _ = await scene.come("alice", "carol")
        if called_first:
            scene.end()
        leaving.cancel()
        if not called_first:
            scene.end()
        await _settled()
        assert scene.had == ["bob", "carol"]
        await scene.go_on(1)
        await scene.come("dave")
        assert scene.had[-1] == "dave"

    play(work)
