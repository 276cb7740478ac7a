"""What tells an id of the service from the name of a file."""

import re
from typing import Literal, TypeGuard

_ID = re.compile(r"([a-z]+)_[0-9a-f]{32}")


def is_id(thing: object, kind: Literal["img", "loss", "ds", "model"]) -> TypeGuard[str]:
    """Whether `thing` is an id of that kind; `img_001.png` is none."""
    match = _ID.fullmatch(thing) if isinstance(thing, str) else None
    return match is not None and match[1] == kind
