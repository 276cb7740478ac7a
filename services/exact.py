"""Models that take JSON as it is: numbers as numbers, truth as truth, and nothing for another."""

from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_before_validator_function

# Of a core schema, what describes no values.
_ASIDE = ("cls", "config", "default", "metadata", "ref", "serialization")


def _exact(schema: Any) -> Any:
    if isinstance(schema, list | tuple):
        return type(schema)(_exact(each) for each in schema)
    if not isinstance(schema, dict):
        return schema
    schema = {name: value if name in _ASIDE else _exact(value) for name, value in schema.items()}
    if schema.get("type") in ("int", "float"):
        return no_info_before_validator_function(_number, schema)
    if schema.get("type") == "bool":
        schema["strict"] = True
    return schema


def _number(value: Any) -> Any:
    if isinstance(value, bool | str | bytes):
        raise PydanticCustomError("no_number", "must be a number")
    return value


class Exact(BaseModel):
    """A model whose numbers are no texts (`"5"`) and no truth values (`true`), nor the reverse.

    What is a whole number by its value, as 5.0, is one.
    """

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Pydantic's schema, with a check before each number."""
        exact: CoreSchema = _exact(handler(source))
        return exact
