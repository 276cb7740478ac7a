"""Names that people type."""

import pytest

from services.names import cleaned, without_control


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("denoiser 2x, f-28 \\u2026", "denoiser 2x, f-28 \\u2026"),
        ("a\x00b\x1fc\x7fd\x9fe\u2028f\u202eg\u2069h", "abcdefgh"),
        ("Übung …", "Übung …"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_name_loses_what_no_name_has(typed: str, kept: str) -> None:
    assert cleaned(typed) == kept


def test_a_place_keeps_all_else() -> None:
    assert (
        without_control("/data/fixed 2019-12/\n" + "x" * 300) == "/data/fixed 2019-12/" + "x" * 300
    )
