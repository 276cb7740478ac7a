"""Loss of resolution: an image scaled down and up again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from services.distortions.distortion import Distortion
from services.distortions.parameter import Bounds, draw_real
from services.images.resampling import Kernel, resize

if TYPE_CHECKING:
    from torch import Generator, Tensor


class Rescale(Distortion):
    """Down by a factor, then up to the size before, with one kernel both ways.

    The kernels are Pillow's: all but `nearest` are anti-aliased on the way down.
    """

    kind: Literal["rescale"] = "rescale"
    factor: Annotated[
        tuple[float, float],
        Bounds(1, 16),
        Field(description="old side over new side; a side never falls below one pixel"),
    ]
    kernel: Annotated[Kernel, Field(description="interpolation, down and up")] = "bicubic"

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Scale each image of the batch by one drawn factor."""
        import torch

        factor = float(draw_real(self.factor, generator))
        height, width = image.shape[-2:]
        small = max(1, round(width / factor)), max(1, round(height / factor))
        rescaled = [
            resize(resize(planes, small, self.kernel), (width, height), self.kernel)
            for planes in image.detach().float().permute(0, 2, 3, 1).cpu().numpy()
        ]
        restored = torch.stack([torch.from_numpy(planes) for planes in rescaled])
        return restored.permute(0, 3, 1, 2).to(image.device, image.dtype)
