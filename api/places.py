"""Places for what takes long, so that nobody takes them all."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from services.errors import UnavailableError


class Places:
    """So many in all, and so many of them for one owner; used on one event loop."""

    def __init__(self, *, total: int, of_owner: int) -> None:
        self._total = total
        self._of_owner = of_owner
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken_by(self, owner: str) -> Iterator[None]:
        """One place, until the end of the block. Raises UnavailableError if there is none."""
        if self._taken.total() >= self._total:
            raise UnavailableError(
                "the server is taking as many uploads as it can: go on in a moment"
            )
        if self._taken[owner] >= self._of_owner:
            raise UnavailableError(
                f"the server is taking {self._of_owner} uploads of {owner} already, and keeps "
                "room for others: go on when one of them is done"
            )
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            self._taken += Counter()  # forgets who has none
