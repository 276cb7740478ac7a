"""The loss artefact: one safetensors file with everything that a trained loss is.

Tensors are named `scales.{k}.head.conv.weight`, … with k = 0 the coarsest scale; the header's
metadata holds one JSON text under the key `mdf`, the manifest. The format is described in
`docs/artefact-format.md`. Equal losses have equal bytes, and reading executes nothing.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from mdf.discriminator import MIN_LAYERS, Discriminator, Padding
from mdf.errors import ArtefactError

FORMAT = 1
METADATA_KEY = "mdf"
MAX_BYTES = 256 * 1024 * 1024
MAX_SCALES = 32
MAX_WIDTH = 1024
MAX_LAYERS = 32

Origin = Literal["trained", "imported"]
Taps = Literal["published", "every-relu"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a loss is, how it was made and how it is to be evaluated.

    It holds no time of creation: the same run gives the same bytes.

    Args:
        origin: "trained" by this product, or "imported" from weights published elsewhere.
        task: the restoration task and its distortion; empty if unknown.
        recipe: every hyperparameter of the training; for an import, what is known of it.
        widths: channels of each discriminator, coarsest scale first.
        layers: convolutions of each discriminator.
        padding: of these convolutions, "valid" or "same".
        taps: which activations the loss compares.
        value_range: the range that the discriminators expect the image's [0, 1] to be mapped to.
        seeds: SHA-256 of the pixels of each seed image.
        random_seed: of the training; None if unknown.
        iterations: done in training, for each scale.
        software: versions of what trained it, by name.
    """

    format: int = FORMAT
    origin: Origin
    widths: tuple[int, ...]
    iterations: tuple[int, ...]
    layers: int = 5
    padding: Padding = "valid"
    taps: Taps = "published"
    value_range: tuple[float, float] = (-1.0, 1.0)
    task: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[str, ...] = ()
    random_seed: int | None = None
    software: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (allowed, is_allowed) in _RULES.items():
            if not is_allowed(getattr(self, name)):
                raise ArtefactError(
                    f"the manifest's {name} is {_short(getattr(self, name))}; it must be {allowed}"
                )
        if len(self.iterations) != self.scales:
            raise ArtefactError(
                f"the manifest names {self.scales} widths and {len(self.iterations)} iterations; "
                "it must have one of each for every scale"
            )
        low, high = self.value_range
        object.__setattr__(self, "value_range", (float(low), float(high)))  # equal, equal bytes

    @property
    def scales(self) -> int:
        """How many discriminators the loss has."""
        return len(self.widths)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it."""
        plain: dict[str, Any] = json.loads(self.to_json())
        return plain

    def to_json(self) -> str:
        """One line of JSON with sorted keys: equal manifests have equal text."""
        try:
            return json.dumps(asdict(self), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ArtefactError(f"the manifest does not fit in JSON: {error}") from None

    @classmethod
    def from_dict(cls, plain: object) -> Self:
        """Read plain data strictly: every field present, none unknown, each of its type."""
        if not isinstance(plain, Mapping):
            raise ArtefactError("the manifest is not a JSON object")
        if plain.get("format") != FORMAT:
            raise ArtefactError(
                f"the manifest's format is {_short(plain.get('format'))}; this version of mdf "
                f"reads format {FORMAT}"
            )
        known = {each.name for each in fields(cls)}
        if missing := sorted(known - plain.keys()):
            raise ArtefactError(f"the manifest lacks {', '.join(missing)}")
        if unknown := sorted(plain.keys() - known):
            raise ArtefactError(f"the manifest has unknown fields: {_short(', '.join(unknown))}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in plain.items()
        }
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        try:
            plain = json.loads(text)
            json.dumps(plain, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        except (ValueError, RecursionError) as error:
            raise ArtefactError(f"the manifest is not JSON: {error}") from None
        return cls.from_dict(plain)

    def discriminators(self, states: Sequence[Mapping[str, Tensor]]) -> list[Discriminator]:
        """The frozen discriminators that this manifest describes, with these state dicts.

        Raises ArtefactError for a tensor that is missing, too many, of a wrong shape or type, or
        not finite.
        """
        if len(states) != self.scales:
            raise ArtefactError(
                f"the file holds {len(states)} discriminators, its manifest names {self.scales}"
            )
        return [
            _discriminator(width, self.layers, self.padding, state, prefix=f"scales.{k}.")
            for k, (width, state) in enumerate(zip(self.widths, states, strict=True))
        ]


def write_artefact(manifest: Manifest, discriminators: Sequence[Discriminator]) -> bytes:
    """The artefact's bytes; the same loss gives the same bytes."""
    states = [discriminator.state_dict() for discriminator in discriminators]
    manifest.discriminators(states)  # what is written can be read
    tensors = {
        f"scales.{k}.{name}": tensor.detach().to("cpu").contiguous()
        for k, state in enumerate(states)
        for name, tensor in state.items()
    }
    return safetensors.torch.save(tensors, metadata={METADATA_KEY: manifest.to_json()})


def read_artefact(content: bytes) -> tuple[Manifest, list[Discriminator]]:
    """Read what `write_artefact` wrote, strictly.

    Raises ArtefactError that names what is wrong; nothing in the file is executed, and no more
    memory is used than the file has bytes.
    """
    if len(content) > MAX_BYTES:
        raise ArtefactError(
            f"the file has {len(content)} bytes; a loss has at most {MAX_BYTES} bytes"
        )
    manifest = Manifest.from_json(_manifest_text(content))
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError, AssertionError) as error:
        raise ArtefactError(f"the file is not valid safetensors: {error}") from None

    states: list[dict[str, Tensor]] = [{} for _ in manifest.widths]
    for name, tensor in tensors.items():
        prefix, _, rest = name.partition(".")
        k, _, inner = rest.partition(".")
        if prefix != "scales" or k not in map(str, range(manifest.scales)):
            raise ArtefactError(
                f"the file has an unknown tensor {_short(name)}; its manifest names "
                f"{manifest.scales} scales"
            )
        states[int(k)][inner] = tensor
    return manifest, manifest.discriminators(states)


def metadata(content: bytes) -> dict[str, Any]:
    """What the header of a safetensors file says beside its tensors.

    The header is eight bytes of length, then JSON. Raises ArtefactError if there is none.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise ArtefactError("the file is truncated: it ends before its safetensors header does")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"the safetensors header is not JSON: {error}") from None
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else {}


def _manifest_text(content: bytes) -> str:
    text = metadata(content).get(METADATA_KEY)
    if not isinstance(text, str):
        raise ArtefactError(
            f'the file has no "{METADATA_KEY}" manifest in its header: it is not an MDF loss'
        )
    return text


def _discriminator(
    width: int, layers: int, padding: Padding, state: Mapping[str, Tensor], *, prefix: str
) -> Discriminator:
    with torch.device("meta"):  # neither memory nor the caller's random numbers are spent
        discriminator = Discriminator(width=width, layers=layers, padding=padding)
    expected = discriminator.state_dict()
    if missing := sorted(expected.keys() - state.keys()):
        raise ArtefactError(f"the file lacks the tensor {prefix}{missing[0]}")
    if unknown := sorted(state.keys() - expected.keys()):
        raise ArtefactError(f"the file has an unknown tensor {_short(prefix + unknown[0])}")
    for name, like in expected.items():
        tensor = state[name]
        if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            raise ArtefactError(
                f"the tensor {prefix}{name} is {tensor.dtype} {tuple(tensor.shape)}; its manifest "
                f"asks for {like.dtype} {tuple(like.shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise ArtefactError(f"the tensor {prefix}{name} holds values that are not finite")
        if name.endswith("running_var") and (tensor < 0).any():
            raise ArtefactError(f"the tensor {prefix}{name} holds negative variances")
    discriminator.load_state_dict(
        {name: tensor.detach().cpu().clone() for name, tensor in state.items()}, assign=True
    )
    return discriminator.eval().requires_grad_(False)


def _is_whole(value: object, low: int, high: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_tuple_of(value: object, is_member: Callable[[Any], bool]) -> bool:
    return isinstance(value, tuple) and all(is_member(member) for member in value)


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and abs(value) <= 1e6


def _is_object(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


# What each field may be: in words, and as a test.
_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "format": (str(FORMAT), lambda value: _is_whole(value, FORMAT, FORMAT)),
    "origin": ('"trained" or "imported"', lambda value: value in get_args(Origin)),
    "widths": (
        f"1 to {MAX_SCALES} whole numbers from 1 to {MAX_WIDTH}",
        lambda value: (
            _is_tuple_of(value, lambda width: _is_whole(width, 1, MAX_WIDTH))
            and 1 <= len(value) <= MAX_SCALES
        ),
    ),
    "iterations": (
        "whole numbers from 0",
        lambda value: _is_tuple_of(value, lambda done: _is_whole(done, 0)),
    ),
    "layers": (
        f"a whole number from {MIN_LAYERS} to {MAX_LAYERS}",
        lambda value: _is_whole(value, MIN_LAYERS, MAX_LAYERS),
    ),
    "padding": ('"valid" or "same"', lambda value: value in get_args(Padding)),
    "taps": ('"published" or "every-relu"', lambda value: value in get_args(Taps)),
    "value_range": (
        "two numbers from -1e6 to 1e6, the lower first",
        lambda value: _is_tuple_of(value, _is_number) and len(value) == 2 and value[0] < value[1],
    ),
    "task": ("an object", _is_object),
    "recipe": ("an object", _is_object),
    "seeds": (
        "SHA-256 digests, each 64 lower-case hexadecimal digits",
        lambda value: _is_tuple_of(
            value, lambda seed: isinstance(seed, str) and _SHA256.fullmatch(seed) is not None
        ),
    ),
    "random_seed": (
        "a whole number from 0, or null",
        lambda value: value is None or _is_whole(value, 0),
    ),
    "software": (
        "an object of texts",
        lambda value: (
            _is_object(value) and all(isinstance(version, str) for version in value.values())
        ),
    ),
}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
