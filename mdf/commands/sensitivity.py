"""What a trained loss is sensitive to: its value on photographs that it never saw."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mdf.loss import MDFLoss
    from services.distortions import Distortion

    Pipeline = Sequence[Distortion]

# They come with scikit-image.
PHOTOGRAPHS = ("chelsea", "coffee", "rocket", "astronaut")
_SIDE = 256  # of the centre that is taken of each, pixels
_BISECTIONS = 20


@dataclass(frozen=True)
class Row:
    """The loss between photographs and their distorted versions, one value a photograph."""

    name: str
    psnr: float  # dB, mean over the photographs
    values: tuple[float, ...]
    own: bool  # whether it is a distortion of the task that the loss was trained for

    @property
    def mean(self) -> float:
        """Mean over the photographs."""
        return sum(self.values) / len(self.values)


def photograph(name: str) -> "NDArray[np.uint8]":
    """One of scikit-image's photographs, (H, W, 3) in RGB."""
    import numpy as np
    import skimage.data

    pixels: NDArray[np.uint8] = getattr(skimage.data, name)()
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def measure(loss: "MDFLoss", task: Mapping[str, Any], names: Sequence[str]) -> list[Row]:
    """The loss for the task's own distortions, mild to strong, and for others of equal PSNR."""
    images = [_centre(photograph(name)) for name in names]
    own, reference = _own_distortions(task)
    rows = [
        _row(loss, images, name, [pipeline] * len(images), own=True)
        for name, pipeline in own.items()
    ]
    targets = [_psnr(_distorted(image, own[reference]), image) for image in images]
    for kind, (distortion, strongest) in _others(task).items():
        matched = [
            [_match(image, target, distortion, strongest)]
            for image, target in zip(images, targets, strict=True)
        ]
        rows.append(_row(loss, images, f"{kind}, PSNR of {reference}", matched, own=False))
    return rows


def _own_distortions(task: Mapping[str, Any]) -> tuple[dict[str, "Pipeline"], str]:
    """The task's distortions by name, mild to strong, and which one the others shall equal."""
    from services.distortions import GaussianNoise, Jpeg, Rescale
    from services.phase1.recipe import Custom

    match task["kind"]:
        case "jpeg":
            qualities = (90, 30, 10, 7)
            return {f"quality {q}": [Jpeg(quality=(q, q))] for q in qualities}, "quality 10"
        case "denoising":
            sigmas = (5, 15, 25, 50)
            return {f"σ {s}": [GaussianNoise(sigma=(s, s))] for s in sigmas}, "σ 25"
        case "sisr":
            factors = (1.5, 2, 3, 4)
            return {f"×{f:g}": [Rescale(factor=(f, f))] for f in factors}, "×4"
        case _:
            return {"the pipeline": Custom.model_validate(task).pipeline()}, "the pipeline"


def _others(
    task: Mapping[str, Any],
) -> dict[str, tuple[Callable[[float], "Distortion"], float]]:
    """Distortions of another kind: how to make one of a strength, and the strongest."""
    from services.distortions import GaussianBlur, GaussianNoise

    others: dict[str, tuple[Callable[[float], Distortion], float]] = {
        "noise": (lambda sigma: GaussianNoise(sigma=(sigma, sigma)), 255.0),
        "blur": (lambda sigma: GaussianBlur(sigma=(sigma, sigma)), 20.0),
    }
    if task["kind"] == "denoising":
        del others["noise"]
    return others


def _match(
    image: "Tensor", target: float, distortion: Callable[[float], "Distortion"], strongest: float
) -> "Distortion":
    """The distortion whose strength gives `image` the PSNR `target`, found by bisection."""
    low, high = 0.0, strongest
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _psnr(_distorted(image, [distortion(middle)]), image) > target:
            low = middle
        else:
            high = middle
    return distortion(high)


def _row(
    loss: "MDFLoss",
    images: Sequence["Tensor"],
    name: str,
    pipelines: Sequence["Pipeline"],
    *,
    own: bool,
) -> Row:
    import torch

    pairs = [
        (_distorted(image, pipeline), image)
        for image, pipeline in zip(images, pipelines, strict=True)
    ]
    with torch.no_grad():
        values = tuple(float(loss(distorted, image)) for distorted, image in pairs)
    psnr = sum(_psnr(distorted, image) for distorted, image in pairs) / len(pairs)
    return Row(name=name, psnr=psnr, values=values, own=own)


def _distorted(image: "Tensor", pipeline: "Pipeline") -> "Tensor":
    """`image` after the pipeline, as a file would hold it: in [0, 1]. Always the same draw."""
    import torch

    from services.distortions import distort

    return distort(image, pipeline, torch.Generator().manual_seed(0)).clamp(0, 1)


def _psnr(distorted: "Tensor", image: "Tensor") -> float:
    """PSNR in dB for the range [0, 1]; 99 for equal images."""
    error = float((distorted - image).square().mean())
    return 99.0 if error == 0 else -10 * math.log10(error)


def _centre(pixels: "NDArray[np.uint8]") -> "Tensor":
    """The centre of a picture as (1, 3, H, W) in [0, 1]."""
    import torch

    height, width, _ = pixels.shape
    top, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    centre = torch.tensor(pixels[top : top + _SIDE, left : left + _SIDE, :3])
    return centre.permute(2, 0, 1)[None] / 255
