"""What is remembered of a trained scale, to be looked at: pictures and curves."""

import io
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

# Curves of a scale, in the order of a row of `ScaleHistory.curves` after its iteration.
CURVES = (
    "discriminator_real",
    "discriminator_fake",
    "gradient_penalty",
    "adversarial",
    "reconstruction",
    "learning_rate",
)
LONGEST_SIDE = 512  # of a remembered picture, px


@dataclass(frozen=True)
class ScaleHistory:
    """Pictures and curves of one scale; the pictures are those of the first seed.

    Args:
        seed, generated: uint8, (H, W, 3), at most 512 px on the longer side.
        activations: float32, (h, w), the discriminator's map of the generated image.
        curves: float64, (points, 1 + len(CURVES)), the iteration and the curves' values.
    """

    seed: NDArray[np.uint8]
    generated: NDArray[np.uint8]
    activations: NDArray[np.float32]
    curves: NDArray[np.float64]

    def to_state(self) -> dict[str, Tensor]:
        """Plain tensors, for a checkpoint."""
        return {name: torch.from_numpy(array) for name, array in vars(self).items()}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> "ScaleHistory":
        """Read what `to_state` wrote."""
        return cls(**{name: tensor.numpy() for name, tensor in state.items()})


def picture(image: Tensor) -> NDArray[np.uint8]:
    """The first image of (N, 3, H, W) in [−1, 1] as 8-bit pixels, shrunk if it is large."""
    pixels = ((image[0].detach().clamp(-1, 1) + 1) * 127.5).round().byte()
    picture = Image.fromarray(pixels.permute(1, 2, 0).cpu().contiguous().numpy())
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return np.array(picture)


def activation_map(activations: Tensor) -> NDArray[np.float32]:
    """The first map of (N, 1, h, w), shrunk if it is large."""
    picture = Image.fromarray(activations[0, 0].detach().float().cpu().contiguous().numpy())
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
    return np.array(picture)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (H, W, 3) pixels; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def heat_map(activations: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour a map from its 1st to its 99th percentile, dark to bright."""
    import matplotlib as mpl

    low, high = np.percentile(activations, (1, 99))
    share = (activations - low) / max(high - low, 1e-12)
    rgba = mpl.colormaps["magma"](share.clip(0, 1), bytes=True)
    return np.ascontiguousarray(rgba[..., :3])
