"""The tables of docs/phase2.md are what the code says; a failure prints the right ones."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from services.phase2.hyperparameters import RestorationRecipe
from services.phase2.objective import Single, Term
from services.phase2.recipe import PRESETS
from services.phase2.tasks import AnyTask
from services.restorers.networks import AnyNetwork

DOCUMENT = Path(__file__).parents[3] / "docs" / "phase2.md"
PARTS = ("optimiser", "schedule", "adversary")


def shown(value: Any) -> str:
    match value:
        case None | bool():
            return f"`{'null' if value is None else str(value).lower()}`"
        case str():
            return f"`{value}`"
        case float():
            return f"{value:g}"
        case list() | tuple():
            return "[" + ", ".join(shown(each).strip("`") for each in value) + "]"
        case BaseModel():
            return part(value)
    return str(value)


def part(model: BaseModel) -> str:
    """A part by its kind, and what differs from the kind's defaults."""
    plain = model.model_dump(mode="json")
    fields = type(model).model_fields
    differing = [
        f"{name} {shown(value)}"
        for name, value in plain.items()
        if name != "kind" and (fields[name].is_required() or value != default(model, name))
    ]
    kind = plain.get("kind")
    words = [f"`{kind}`"] if kind else []
    return " ".join([*words, ", ".join(differing)]).strip()


def default(model: BaseModel, name: str) -> Any:
    bare = {
        key: getattr(model, key) for key, f in type(model).model_fields.items() if f.is_required()
    }
    return type(model)(**bare).model_dump(mode="json")[name]


def loss(model: BaseModel) -> str:
    terms = getattr(model, "terms", None)
    if terms is None:
        return part(model)
    return " + ".join(term(each) for each in terms)


def term(each: Term) -> str:
    weight = "" if each.weight == 1 else f"{each.weight:g} · "
    return weight + loss(each.loss)


def presets_table() -> str:
    lines = [
        "| preset | task | network | loss | patch, px | batch | length | optimiser | schedule |",
        "| --- | --- | --- | --- | ---: | ---: | --- | --- | --- |",
    ]
    for name, preset in PRESETS.items():
        recipe = preset.recipe
        length = (
            f"{recipe.epochs} epochs of {recipe.patches_per_image} patches an image"
            if recipe.epochs
            else f"{recipe.iterations} iterations"
        )
        cells = [
            f"`{name}`",
            part(preset.task),
            part(preset.network),
            loss(preset.loss),
            str(recipe.patch),
            str(recipe.batch),
            length,
            part(recipe.optimiser),
            part(recipe.schedule),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def losses_table() -> str:
    lines = [
        "| kind | parameter | meaning | allowed | default |",
        "| --- | --- | --- | --- | --- |",
    ]
    for model in get_args(Single):
        schema = model.model_json_schema()["properties"]
        kind = schema.pop("kind")["const"]
        schema.pop("digest", None)  # filled in by the service
        if not schema:
            lines.append(f"| `{kind}` |  |  |  |  |")
        for name, field in schema.items():
            value = shown(field["default"]) if "default" in field else "none: required"
            allowed = (
                "text" if field.get("type") == "string" and "enum" not in field else bounds(field)
            )
            lines.append(f"| `{kind}` | `{name}` | {field['description']} | {allowed} | {value} |")
    return "\n".join(lines)


def bounds(schema: dict[str, Any]) -> str:
    """What a field's JSON schema allows, in words."""
    if "anyOf" in schema:
        return " or ".join(bounds(member) for member in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"a list of {bounds(schema['items'])}"
    if schema["type"] in ("boolean", "null"):
        return {"boolean": "`true` or `false`", "null": "`null`"}[schema["type"]]
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    start = f"from {low:.16g}" if low is not None else f"above {above:.16g}"
    return f"{start} to {high:.16g}" if high is not None else f"{start} below {below:.16g}"


def recipe_table() -> str:
    schemas = RestorationRecipe.model_json_schema()["properties"]
    lines = ["| name | meaning | allowed | default |", "| --- | --- | --- | --- |"]
    for name, schema in schemas.items():
        if name in PARTS:
            continue
        value = shown(schema["default"])
        cells = [f"`{name}`", schema["description"], bounds(schema), value]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parts_table() -> str:
    """Optimisers, schedules and the discriminator, one row for each parameter."""
    lines = [
        "| part | kind | parameter | meaning | allowed | default |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in PARTS:
        annotation = RestorationRecipe.model_fields[name].annotation
        for model in get_args(annotation) or [annotation]:
            schema = model.model_json_schema()["properties"]
            kind = schema.pop("kind", {"const": ""})["const"]
            rows = schema.items() or [("", None)]
            for parameter, field in rows:
                cells = [f"`{name}`", f"`{kind}`" if kind else ""]
                cells += (
                    [
                        f"`{parameter}`",
                        field["description"],
                        bounds(field),
                        shown(field["default"]) if "default" in field else "none: required",
                    ]
                    if field is not None
                    else ["", "", "", ""]
                )
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "table",
    [losses_table, presets_table, recipe_table, parts_table],
    ids=lambda table: table.__name__,
)
def test_the_document_has_the_table(table: Any) -> None:
    expected = table()
    assert expected in DOCUMENT.read_text(), f"docs/phase2.md should hold:\n{expected}"


@pytest.mark.parametrize("union", [AnyTask, AnyNetwork], ids=["tasks", "networks"])
def test_the_document_names_every_kind(union: Any) -> None:
    text = DOCUMENT.read_text()
    for model in get_args(get_args(union)[0]):
        kind = model.model_fields["kind"].default
        assert f'"kind": "{kind}"' in text, kind
