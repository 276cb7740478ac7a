"""Test images for a model: clean ones, degraded as its training degraded them.

`degrade` imports torch: it is for `services.workbench`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from services.errors import BadInputError
from services.images.catalogue import pixels
from services.phase2.recipe import multiple_of
from services.phase2.tasks import AnyTask
from services.restorers.networks import NETWORK

Pixels = NDArray[np.uint8]

_task = TypeAdapter[Any](AnyTask)


def degrade(
    png: bytes, task: dict[str, Any], network: dict[str, Any], *, random_seed: int
) -> tuple[Pixels, Pixels]:
    """The degraded image and what it should become, both (H, W, 3) in RGB.

    Args:
        png: of the clean image, as the catalogue keeps it.
        task: that the model was trained for.
        network: the model's; one that enlarges is given a small image.
        random_seed: the same one draws the same noise.

    Raises: BadInputError for an image that is too small.
    """
    import torch

    from services.phase2.degradation import Area, Degradation

    spec, made_for = _task.validate_python(task), NETWORK.validate_python(network)
    clean = pixels(png).copy()  # torch wants to be able to write
    multiple = multiple_of(spec, made_for)
    height, width = (side // multiple * multiple for side in clean.shape[:2])
    if not (height and width):
        raise BadInputError(
            f"the image is {clean.shape[1]}×{clean.shape[0]} px; the model needs {multiple} px or "
            "more on each side"
        )
    degradation = Degradation(spec, grey=False, enlarges=made_for.scale > 1)
    generator = torch.Generator().manual_seed(random_seed)
    pair = degradation.pair(clean, Area(0, 0, height, width), generator)
    return _eight_bit(pair.degraded), _eight_bit(pair.target)


def _eight_bit(image: Any) -> Pixels:
    values: Pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(values)
