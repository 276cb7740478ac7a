"""The job that turns what was uploaded, or lies in a folder, into a data set."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from services.exact import Exact


class DatasetImport(Exact):
    """Import one data set; made by the service itself when all of its source is there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["dataset_import"] = "dataset_import"
    dataset_id: Annotated[str, Field(max_length=64, description="`ds_…`")]
