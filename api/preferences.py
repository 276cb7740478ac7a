"""The header `Prefer` (RFC 7240), of which the service knows `wait`."""

import re
from typing import Annotated

from fastapi import Header

Prefer = Annotated[
    list[str] | None,
    Header(
        description="`wait=30`: the result itself is wanted if it is there within so many seconds, "
        "up to 120 (RFC 7240)"
    ),
]

MAX_WAIT_SECONDS = 120
_WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?', re.IGNORECASE)


def wait_seconds(prefer: list[str] | None) -> int | None:
    """Seconds that the client is willing to wait; None if it does not say so.

    Of several, the first counts; what is not understood is ignored, as the RFC has it.
    """
    for header in prefer or ():
        for preference in header.split(","):
            if found := _WAIT.fullmatch(preference):
                return min(int(found[1]), MAX_WAIT_SECONDS)
    return None
