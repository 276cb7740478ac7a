"""Where a data set's pictures come from."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from services.exact import Exact
from services.names import CONTROL


class _Source(Exact):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Upload(_Source):
    """A zip or tar archive, which the caller sends in parts."""

    kind: Literal["upload"] = "upload"
    size: Annotated[int, Field(ge=1, description="of the archive, bytes")]


class Folder(_Source):
    """A folder or bucket prefix that the operator allows, MDF_DATASET_ROOTS."""

    kind: Literal["folder"] = "folder"
    location: Annotated[
        str,
        Field(
            min_length=1,
            max_length=4096,
            pattern=rf"^[^{CONTROL}]+$",
            description="absolute path on the server, or a URL such as s3://bucket/photos",
        ),
    ]


AnySource = Annotated[Upload | Folder, Field(discriminator="kind")]
OnBadFile = Literal["skip", "refuse"]
