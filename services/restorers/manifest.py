"""What a restorer's file says of it; nothing here imports torch."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from services.errors import BadModelFileError
from services.restorers.networks import NETWORK, AnyNetwork

FORMAT: Literal[1] = 1
MAX_LENGTH = 1 << 21  # characters of JSON; it is kept in a row, and lists show it

Plain = dict[str, JsonValue]
Whole = Annotated[int, Field(ge=0)]


class RestorerManifest(BaseModel):
    """What a restorer is, how it was made and how good it is.

    It holds no time of creation: the same run gives the same bytes.

    Attributes:
        format: version of these fields.
        origin: "trained" by this product, or "imported" from weights published elsewhere.
        network: the specification in `services.restorers.networks`, as plain data.
        task: the restoration task and its distortion; empty if unknown.
        loss: the loss that it was trained with, an MDF loss with its digest; empty if unknown.
        dataset: digest and number of images; empty if unknown.
        recipe: every hyperparameter of the training; for an import, what is known of it.
        metrics: measured in validation, by name.
        iterations: done in training, up to the weights that were kept.
        random_seed: of the training; None if unknown.
        software: versions of what trained it, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    format: Literal[1] = FORMAT
    origin: Literal["trained", "imported"]
    network: Plain
    task: Plain = {}
    loss: Plain = {}
    dataset: Plain = {}
    recipe: Plain = {}
    metrics: Plain = {}
    iterations: Whole = 0
    random_seed: Whole | None = None
    software: dict[str, str] = {}

    def __init__(self, **values: Any) -> None:
        """Raises BadModelFileError that names a field that is missing, unknown or wrong."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise BadModelFileError(f"the manifest's {_words(error)}") from None

    @field_validator("network", mode="after")
    @classmethod
    def _in_full(cls, network: Plain) -> Plain:
        """With every hyperparameter named: equal networks have equal text."""
        return NETWORK.validate_python(network).model_dump(mode="json")

    @property
    def spec(self) -> AnyNetwork:
        """The network's specification."""
        return NETWORK.validate_python(self.network)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it."""
        plain: dict[str, Any] = json.loads(self.to_json())
        return plain

    def to_json(self) -> str:
        """One line of JSON with sorted keys: equal manifests have equal text."""
        try:
            return json.dumps(self.model_dump(), sort_keys=True, allow_nan=False)
        except ValueError as error:
            raise BadModelFileError(f"the manifest does not fit in JSON: {error}") from None

    @classmethod
    def from_dict(cls, plain: object) -> Self:
        """Read plain data strictly: every field present, none unknown, each of its type."""
        if not isinstance(plain, dict):
            raise BadModelFileError("the manifest is not a JSON object")
        if plain.get("format") != FORMAT:
            raise BadModelFileError(
                f"the manifest's format is {plain.get('format')!r:.80}; this version reads format "
                f"{FORMAT}"
            )
        if missing := sorted(cls.model_fields.keys() - plain.keys()):
            raise BadModelFileError(f"the manifest lacks {', '.join(missing)}")
        return cls(**plain)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        if len(text) > MAX_LENGTH:
            raise BadModelFileError(
                f"the manifest has {len(text)} characters; it may have at most {MAX_LENGTH}"
            )
        try:
            plain = json.loads(text)
            json.dumps(plain, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        except (ValueError, RecursionError) as error:
            raise BadModelFileError(f"the manifest is not JSON: {error}") from None
        return cls.from_dict(plain)


def _words(error: ValidationError) -> str:
    """The first thing that is wrong, in a line."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    return f"{name} is {first['input']!r:.80}: {first['msg'].removeprefix('Value error, ')}"
