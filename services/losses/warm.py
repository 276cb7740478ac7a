"""The losses used last, kept ready in the process that works with them.

`open_loss` imports torch: it is for `services.workbench`.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from services.blobs import Blobs
from services.errors import BadInputError, FileMissingError, NotFoundError

if TYPE_CHECKING:
    from mdf.loss import MDFLoss

_KEPT_LOSSES = 4  # of some megabytes each


@dataclass(frozen=True)
class OpenLoss:
    """A loss, whole and by its scales, coarsest first."""

    whole: "MDFLoss"
    scales: tuple["MDFLoss", ...]

    def check_size(self, height: int, width: int) -> None:
        """Refuse images that are smaller than what one activation sees."""
        smallest = self.whole.smallest_side
        if min(height, width) < smallest:
            raise BadInputError(
                f"the images are {width}×{height} px; this loss needs at least {smallest} px on "
                "each side"
            )


@lru_cache(_KEPT_LOSSES)
def open_loss(blobs: str | Path, key: str) -> OpenLoss:
    """The loss in the safetensors file `key` of `blobs`; the key has the file's digest."""
    from mdf.loading import read_loss
    from mdf.loss import MDFLoss

    try:
        content = Blobs(blobs).read(key, sha256=PurePosixPath(key).stem, of="the loss")
    except FileMissingError:
        raise NotFoundError("the file is gone: it was deleted meanwhile") from None
    manifest, discriminators = read_loss(content)
    scales = (
        MDFLoss(
            replace(
                manifest,
                widths=manifest.widths[scale : scale + 1],
                iterations=manifest.iterations[scale : scale + 1],
            ),
            [discriminator],
        )
        for scale, discriminator in enumerate(discriminators)
    )
    return OpenLoss(MDFLoss(manifest, discriminators), tuple(scales))
