"""Places for what takes long, so that nobody takes them all."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.errors import UnavailableError


class Places:
    """So many in all, and so many of them for one owner; used on one event loop.

    They are counted in uploads, or in what these take, such as bytes.
    """

    def __init__(self, *, total: int, of_owner: int) -> None:
        self._total = total
        self._of_owner = of_owner
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken_by(self, owner: str, size: int = 1) -> Iterator[Callable[[int], None]]:
        """Places for one upload, until the end of the block, which may take so many more.

        Raises: UnavailableError if there are too few.
        """
        taken = 0

        def take(more: int) -> None:
            nonlocal taken
            self.check(owner, more)
            self._taken[owner] += more
            taken += more

        take(size)
        try:
            yield take
        finally:
            self._taken[owner] -= taken
            self._taken += Counter()  # forgets who has none

    def check(self, owner: str, size: int) -> None:
        """Raise UnavailableError if so many could not be taken now."""
        if self._taken.total() + size > self._total:
            raise UnavailableError(
                "the server is taking as many uploads as it can: go on in a moment"
            )
        if self._taken[owner] + size > self._of_owner:
            raise UnavailableError(
                f"the server is taking as many uploads of {owner} as it can, and keeps room for "
                "others: go on when one of them is done"
            )
