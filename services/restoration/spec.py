"""The spec of a restoration: which images, through which model, into which files."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from services.exact import Exact

PictureFormat = Literal["png", "jpeg", "webp"]
Quality = Annotated[
    int, Field(ge=1, le=100, description="of JPEG and WebP, 1 (worst) to 100; default: 95")
]

MEDIA_TYPES: dict[PictureFormat, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
}
SUFFIXES: dict[PictureFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}

MAX_IMAGES = 1000


class Restoration(Exact):
    """Restore images with a model of the catalogue."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["restoration"] = "restoration"
    model_id: Annotated[str, Field(max_length=64, description="`model_…`")]
    image_ids: Annotated[
        tuple[str, ...] | None,
        Field(
            min_length=1,
            max_length=MAX_IMAGES,
            description="`img_…`, or else `dataset_id`",
            json_schema_extra={"uniqueItems": True},
        ),
    ] = None
    dataset_id: Annotated[
        str | None, Field(max_length=64, description="`ds_…`: all its images, or else `image_ids`")
    ] = None
    format: Annotated[PictureFormat, Field(description="of the restored files")] = "png"
    quality: Quality | None = None

    @field_validator("image_ids")
    @classmethod
    def _no_duplicates(cls, ids: tuple[str, ...] | None) -> tuple[str, ...] | None:
        doubled = sorted({name for name in ids or () if (ids or ()).count(name) > 1})
        if doubled:
            raise ValueError(f"named more than once: {', '.join(doubled[:5])}")
        return ids

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.image_ids is None) == (self.dataset_id is None):
            raise ValueError("needs `image_ids` or `dataset_id`, one of the two")
        check_quality(self.format, self.quality)
        return self


def check_quality(file_format: PictureFormat, quality: int | None) -> None:
    """Raise ValueError for a quality of files that lose nothing."""
    if file_format == "png" and quality is not None:
        raise ValueError(
            f"quality is {quality}, and PNG files lose nothing: leave it out, or ask for `jpeg` "
            "or `webp`"
        )
