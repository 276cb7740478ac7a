"""Names that people give: what may stand in them."""

import re

# Signs that a screen or a log takes for orders: they move the cursor, end the line, or turn the
# direction of the text round, so that `exe.png` is read where `gnp.exe` stands.
CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
LONGEST = 200


def cleaned(typed: str) -> str:
    """What was typed as a name, without what may not stand in one, and as long as one may be."""
    return without_control(typed)[:LONGEST]


def without_control(typed: str) -> str:
    """What was typed, without signs that are orders."""
    return re.sub(f"[{CONTROL}]", "", typed)
