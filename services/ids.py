"""Identifiers: UUIDv7 (RFC 9562, section 5.7) with a prefix that names the kind, `job_0193…`.

They sort by time of creation, so that a list ordered by id is a list ordered by age.
"""

import os
import time
from typing import Literal

Kind = Literal[
    "img", "ds", "job", "loss", "model", "eval", "key", "smp", "art", "hook", "msg", "msr"
]

PATTERN = r"^[a-z]+_[0-9a-f]{32}$"


def new_id(kind: Kind) -> str:
    """A fresh identifier of `kind`."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (random >> 68 & 0xFFF) << 64  # version, rand_a
    value |= 0b10 << 62 | random & (1 << 62) - 1  # variant, rand_b
    return f"{kind}_{value:032x}"
