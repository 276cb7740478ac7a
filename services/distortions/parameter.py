"""Parameters of a distortion: a fixed value, or a range that is drawn from at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

if TYPE_CHECKING:
    from torch import Generator, Tensor

Pair = tuple[float, float] | tuple[int, int]


@dataclass(frozen=True)
class Bounds:
    """Annotates a pair `(low, high)` with the values that it may hold, both ends included.

    A number `v` in the input stands for `(v, v)` and is written back as `v`; a list
    `[low, high]` stands for a range. `tuple[int, int]` takes whole numbers only.
    """

    low: float
    high: float

    def __get_pydantic_core_schema__(
        self, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        number = get_args(source)[0]
        return core_schema.no_info_plain_validator_function(
            lambda value: self._pair(value, number),
            serialization=core_schema.plain_serializer_function_ser_schema(_as_written),
            json_schema_input_schema=core_schema.any_schema(),
            metadata={"number": number},
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        name = "integer" if schema["metadata"]["number"] is int else "number"
        number = {"type": name, "minimum": self.low, "maximum": self.high}
        pair = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
        return {"anyOf": [number, pair]}

    def _pair(self, value: object, number: type[int] | type[float]) -> Pair:
        ends: list[Any] = list(value) if isinstance(value, list | tuple) else [value, value]
        if len(ends) != 2 or not all(self._holds(end, number) for end in ends):
            kind = "a whole number" if number is int else "a number"
            raise PydanticCustomError(
                "parameter",
                "must be {kind} from {low} to {high}, or a pair [low, high] of them; it is {value}",
                {
                    "kind": kind,
                    "low": f"{self.low:g}",
                    "high": f"{self.high:g}",
                    "value": repr(value)[:60],
                },
            )
        low, high = (number(end) for end in ends)
        if low > high:
            raise PydanticCustomError(
                "range",
                "the range's low end {low} is above its high end {high}",
                {"low": f"{low:g}", "high": f"{high:g}"},
            )
        return low, high

    def _holds(self, value: object, number: type[int] | type[float]) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        # Compared first: NaN, infinities and what is too large for a float lie outside.
        return self.low <= value <= self.high and (number is float or value == int(value))


def _as_written(pair: Pair) -> float | list[float]:
    return pair[0] if pair[0] == pair[1] else [*pair]


def draw_real(pair: tuple[float, float], generator: Generator) -> Tensor:
    """A number drawn uniformly from the range, as a scalar tensor on the generator's device."""
    import torch

    low, high = pair
    share = torch.rand((), generator=generator, device=generator.device)
    return low + (high - low) * share


def draw_integer(pair: tuple[int, int], generator: Generator) -> int:
    """A whole number drawn uniformly from the range, both ends included."""
    import torch

    low, high = pair
    drawn = torch.randint(low, high + 1, (), generator=generator, device=generator.device)
    return int(drawn.item())
