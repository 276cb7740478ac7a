"""The operations guide names every setting as it is."""

from pathlib import Path

from pydantic import SecretStr

from services.settings import PREFIX, Settings

GUIDE = Path(__file__).parents[1] / "docs" / "operations" / "README.md"


def settings_table() -> str:
    """The table of settings as the guide should have it."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = field.default
        assert not isinstance(default, SecretStr)
        shown = "" if default is None else f"`{default}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows)


def test_the_guide_has_every_setting_with_its_default_and_meaning() -> None:
    assert settings_table() in GUIDE.read_text(encoding="utf-8"), settings_table()
