"""A form for a pydantic model: a field for each property, made from the model's JSON schema."""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from inspect import isawaitable
from typing import Any

from nicegui.element import Element
from nicegui.events import GenericEventArguments
from pydantic import BaseModel, ValidationError

from api.studio.frame import style

Json = Any
Changed = Callable[[dict[str, Json]], Awaitable[None] | None]

# Parts of names that are spelt out, and units at the end of descriptions.
_WORDS = {"lr": "learning rate", "ema": "moving average of the weights"}
_UNIT = re.compile(r", (px|bytes)\b")


@dataclass(frozen=True)
class Field:
    """One field of a form; `path` says where its value stands in the model.

    `when` names fields by their keys, and the choices with which alone this field is there.
    `words` are the values that may stand for a number: "auto", or null as "none".
    """

    path: tuple[str, ...]
    label: str
    group: str
    kind: str  # number, numbers, choice, choices, switch, text
    default: Json
    help: str = ""
    unit: str = ""
    key: str = ""
    when: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[str | int] = ()
    words: Sequence[str | None] = ()
    least: float | None = None
    most: float | None = None
    step: float | None = None


class SchemaForm(Element, component="schema_form.js"):
    """Labelled fields for the properties of `model`, with help, limits, and problems beside them.

    What differs from the defaults is marked, and can be put back.

    Args:
        model: a pydantic model; its descriptions are the help.
        given: what differs from the defaults at first.
        defaults: a complete value of the model, as JSON.
        on_change: is called with what differs from the defaults, whenever that changes; `problems`
            says then whether it can be used.
    """

    def __init__(
        self,
        model: type[BaseModel],
        *,
        given: Mapping[str, Json],
        defaults: Mapping[str, Json],
        on_change: Changed,
    ) -> None:
        super().__init__()
        style("schema_form")
        self._model = model
        self._on_change = on_change
        self._revision = 0
        self.given: dict[str, Json] = {}
        self.problems: dict[str, str] = {}
        self.reset(given=given, defaults=defaults)
        self.on("given", self._take)

    def reset(
        self, *, given: Mapping[str, Json], defaults: Mapping[str, Json] | None = None
    ) -> None:
        """Show other values, or the differences from other defaults."""
        if defaults is not None:
            self._defaults = dict(defaults)
            self._fields = fields_of(self._model, self._defaults)
        self.given = dict(given)
        self._revision += 1
        self.props["fields"] = [asdict(each) for each in self._fields]
        self.props["given"] = flat(self._fields, self._defaults, self.given)
        self.props["revision"] = self._revision
        self._check()

    async def _take(self, event: GenericEventArguments) -> None:
        told = event.args
        if told["revision"] == self._revision:
            self.given = nested(self._fields, told["values"])
            self._check()
        else:  # It was changed while other values were on their way: there, it alone is changed.
            defaults = {each.key: each.default for each in self._fields}
            values = {**self.props["given"], **told["changed"]}
            differing = {
                key: value for key, value in values.items() if value != defaults.get(key, value)
            }
            self.reset(given=nested(self._fields, differing))
        answer = self._on_change(self.given)
        if isawaitable(answer):
            await answer

    def _check(self) -> None:
        problems: dict[str, str] = {}
        try:
            self._model.model_validate(merged(self._defaults, self.given))
        except ValidationError as error:
            for fault in error.errors():
                key, words = placed(self._fields, fault["loc"], fault["msg"])
                problems.setdefault(key, words)
        self.problems = problems
        self.props["problems"] = problems


def fields_of(model: type[BaseModel], defaults: Mapping[str, Json]) -> list[Field]:
    """The fields of a form for `model`, in the order of its properties."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    return list(_fields(schema, definitions, defaults=defaults))


def flat(
    fields: Iterable[Field], defaults: Mapping[str, Json], given: Mapping[str, Json]
) -> dict[str, Json]:
    """The values of `given` by the keys of their fields."""
    whole = merged(defaults, given)
    kinds = {each.key: _at(whole, each.path) for each in fields}
    found = {}
    for each in fields:
        is_there = all(kinds.get(key) == kind for key, kind in each.when.items())
        value = _at(given, each.path, missing := object())
        if is_there and value is not missing:
            found[each.key] = value
    return found


def nested(fields: Iterable[Field], values: Mapping[str, Json]) -> dict[str, Json]:
    """The values, by the keys of their fields, where they stand in the model."""
    given: dict[str, Json] = {}
    for each in fields:
        if each.key in values:
            place = given
            for name in each.path[:-1]:
                place = place.setdefault(name, {})
            place[each.path[-1]] = values[each.key]
    return given


def merged(defaults: Mapping[str, Json], given: Mapping[str, Json]) -> dict[str, Json]:
    """`defaults` with what is given; of another `kind`, it replaces all of what was there."""
    whole = dict(defaults)
    for name, value in given.items():
        base = whole.get(name)
        if isinstance(base, Mapping) and isinstance(value, Mapping):
            is_same = value.get("kind", base.get("kind")) == base.get("kind")
            whole[name] = merged(base if is_same else {}, value)
        else:
            whole[name] = value
    return whole


def placed(fields: Sequence[Field], loc: Sequence[int | str], message: str) -> tuple[str, str]:
    """The key of the field that a fault belongs to ("" for the whole), and words for it."""
    words = message.removeprefix("Value error, ").replace("Input should be", "must be")
    words = "must be given" if words == "Field required" else words
    names = [name for name in loc if isinstance(name, str)]
    keys = [each.key.split(".") for each in fields]
    # The last names may be no properties, but tell which of several types was tried.
    for length in range(len(names), 0, -1):
        inside = [key for key in keys if key[:length] == names[:length]]
        if inside:
            first = ".".join(inside[0])
            break
    else:
        inside, first = [key for key in keys if len(key) == 1], ""
    # A fault of several fields begins with the name of the one to change.
    named = re.match(r"`?(\w+)`?", words)
    for key in inside:
        if key in (names[: len(key)], [*names, named and named[1]]):
            return ".".join(key), words
    return first, words


def label(name: str) -> str:
    """A property's name in words: `lr_decay_at` is `Learning rate decay at`."""
    words = " ".join(_WORDS.get(word, word) for word in name.split("_"))
    return words[:1].upper() + words[1:]


def _fields(
    schema: Mapping[str, Json],
    definitions: Mapping[str, Json],
    *,
    defaults: Json,
    path: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
    when: Mapping[str, str] | None = None,
    group: str = "",
) -> Iterator[Field]:
    known = defaults if isinstance(defaults, Mapping) else {}
    for name, written in schema.get("properties", {}).items():
        part = _resolved(written, definitions)
        here = (*path, name)
        default = known.get(name, part.get("default"))
        place: dict[str, Any] = {"path": here, "tags": (*tags, name), "when": when or {}}
        if "discriminator" in part:
            yield from _union(part, definitions, default=default, group=label(name), **place)
        elif "properties" in part:
            yield from _fields(
                part,
                definitions,
                defaults=default,
                path=here,
                tags=(*tags, name),
                when=when,
                group=label(name),
            )
        elif not (name == "kind" and "const" in part):
            yield Field(
                path=here,
                key=".".join((*tags, name)),
                label=label(name),
                group=group,
                default=default,
                help=part.get("description", ""),
                unit=_unit(part.get("description", "")),
                when=when or {},
                **_input(part),
            )


def _union(
    part: Mapping[str, Json],
    definitions: Mapping[str, Json],
    *,
    path: tuple[str, ...],
    tags: tuple[str, ...],
    when: Mapping[str, str],
    default: Json,
    group: str,
) -> Iterator[Field]:
    """A choice of the kind, and the fields of each kind."""
    kinds = {
        kind: _resolved({"$ref": reference}, definitions)
        for kind, reference in part["discriminator"]["mapping"].items()
    }
    key = ".".join((*tags, "kind"))
    chosen = default.get("kind") if isinstance(default, Mapping) else None
    yield Field(
        path=(*path, "kind"),
        key=key,
        label="Kind",
        group=group,
        kind="choice",
        default=chosen,
        help=part.get("description", ""),
        when=when,
        options=tuple(kinds),
    )
    for kind, schema in kinds.items():
        yield from _fields(
            schema,
            definitions,
            defaults=default if kind == chosen else {},
            path=path,
            tags=(*tags, kind),
            when={**when, key: kind},
            group=group,
        )


def _input(part: Mapping[str, Json]) -> dict[str, Any]:
    """What kind of field a property needs, and its limits."""
    choices = part.get("anyOf", [part])
    words = tuple(each.get("const") for each in choices if _is_word(each))
    plain = next((each for each in choices if not _is_word(each)), part)
    if "enum" in plain:
        return {"kind": "choice", "options": tuple(plain["enum"])}
    match plain.get("type"):
        case "integer" | "number":
            return {"kind": "number", "words": words, **_limits(plain, part.get("default"))}
        case "boolean":
            return {"kind": "switch"}
        case "array" if "enum" in plain.get("items", {}):
            return {"kind": "choices", "options": tuple(plain["items"]["enum"])}
        case "array":
            return {"kind": "numbers"}
    return {"kind": "text"}


def _is_word(choice: Mapping[str, Json]) -> bool:
    return "const" in choice or choice.get("type") == "null"


def _limits(part: Mapping[str, Json], default: Json) -> dict[str, Any]:
    step = 1.0
    if part["type"] == "number":
        size = abs(default) if isinstance(default, int | float) and default else 1.0
        step = float(f"1e{f'{size:e}'.partition('e')[2]}")  # of the first digit
    return {
        "least": part.get("minimum", part.get("exclusiveMinimum")),
        "most": part.get("maximum", part.get("exclusiveMaximum")),
        "step": step,
    }


def _unit(description: str) -> str:
    found = _UNIT.search(description)
    return found[1] if found else ""


def _resolved(part: Mapping[str, Json], definitions: Mapping[str, Json]) -> dict[str, Json]:
    if "$ref" not in part:
        return dict(part)
    beside = {name: value for name, value in part.items() if name != "$ref"}
    return {**definitions[part["$ref"].rpartition("/")[2]], **beside}


def _at(value: Json, path: Sequence[str], missing: Json = None) -> Json:
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return missing
        value = value[name]
    return value
