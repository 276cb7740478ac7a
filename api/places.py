"""Places for what takes long, so that nobody takes them all."""

from collections import Counter
from collections.abc import Iterator
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
    def taken_by(self, owner: str, size: int = 1) -> Iterator[None]:
        """Places for one upload, until the end of the block.

        Raises: UnavailableError if there are too few.
        """
        if self._taken.total() + size > self._total:
            raise UnavailableError(
                "the server is taking as many uploads as it can: go on in a moment"
            )
        if self._taken[owner] + size > self._of_owner:
            raise UnavailableError(
                f"the server is taking as many uploads of {owner} as it can, and keeps room for "
                "others: go on when one of them is done"
            )
        self._taken[owner] += size
        try:
            yield
        finally:
            self._taken[owner] -= size
            self._taken += Counter()  # forgets who has none
