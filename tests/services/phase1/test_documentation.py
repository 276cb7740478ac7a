"""The tables of docs/phase1.md are what the code says; a failure prints the right ones."""

from pathlib import Path
from typing import Any, get_args

import pytest

from services.distortions import AnyDistortion
from services.phase1.recipe import PRESETS, Denoising, JpegRestoration, Recipe, Sisr

DOCUMENT = Path(__file__).parents[3] / "docs" / "phase1.md"


def bounds(schema: dict[str, Any]) -> str:
    """What a field's JSON schema allows, in words."""
    if "anyOf" in schema:
        members = [member for member in schema["anyOf"] if member.get("type") != "array"]
        words = " or ".join(bounds(member) for member in members)
        return f"{words}, or a pair" if len(members) < len(schema["anyOf"]) else words
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema["type"] in ("boolean", "null"):
        return {"boolean": "`true` or `false`", "null": "`null`"}[schema["type"]]
    low = f"{schema['minimum']:.16g}" if "minimum" in schema else None
    above = schema.get("exclusiveMinimum")
    high = f"{schema['maximum']:.16g}" if "maximum" in schema else None
    below = schema.get("exclusiveMaximum")
    parts = [
        f"from {low}" if low is not None else f"above {above:g}",
        f"to {high}" if high is not None else (f"below {below:g}" if below is not None else ""),
    ]
    return " ".join(part for part in parts if part)


def shown(value: object) -> str:
    if isinstance(value, list):
        value = value[0] if value[0] == value[1] else value
    return f"`{value}`" if isinstance(value, str) else str(value).replace("None", "`null`").lower()


def recipe_table() -> str:
    schemas = Recipe.model_json_schema()["properties"]
    lines = [
        "| name | meaning | allowed | paper | published | quick |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, schema in schemas.items():
        values = [shown(getattr(PRESETS[preset], name)) for preset in PRESETS]
        values[1:] = ["" if value == values[0] else value for value in values[1:]]
        cells = [f"`{name}`", schema["description"], bounds(schema), *values]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def distortion_table() -> str:
    lines = [
        "| kind | parameter | meaning | allowed | default |",
        "| --- | --- | --- | --- | --- |",
    ]
    for distortion in get_args(get_args(AnyDistortion)[0]):
        schema = distortion.model_json_schema()
        kind = schema["properties"].pop("kind")["default"]
        for name, field in schema["properties"].items():
            default = shown(field["default"]) if "default" in field else "none: required"
            cells = [f"`{kind}`", f"`{name}`", field["description"], bounds(field), default]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@pytest.mark.parametrize("table", [recipe_table, distortion_table], ids=lambda t: t.__name__)
def test_the_document_has_the_table(table: Any) -> None:
    expected = table()
    assert expected in DOCUMENT.read_text(), f"docs/phase1.md should hold:\n{expected}"


def test_the_document_names_every_task() -> None:
    text = DOCUMENT.read_text()
    for task in (JpegRestoration(), Denoising(), Sisr()):
        assert f'"kind": "{task.kind}"' in text
