"""How good a restorer is while it is trained, on images that it is not trained on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.losses import Objective
from models.metrics import METRICS, Protocol, measure
from services.datasets.picture import Picture
from services.phase2.degradation import Degradation, Pair
from services.phase2.objective import smallest_patch
from services.phase2.patches import PixelCache, random_numbers
from services.phase2.recipe import RestorerPlan

PROTOCOL = Protocol(eight_bit=True)  # as files of 8-bit RGB, whole

_STREAM = 3  # of random numbers; `patches` has others
_CACHE_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class Sample:
    """A validation image as uint8 (H, W, 3): degraded (enlarged if it is small), its target, and
    restored.
    """

    degraded: NDArray[np.uint8]
    restored: NDArray[np.uint8]
    target: NDArray[np.uint8]


class Validation:
    """Centres of pictures and their degraded versions, the same at every validation.

    Pictures that are too small for the loss or for a metric are left out.

    Args:
        pictures: to validate on; the first `validation_images` of them are.
        plan: task, recipe, and the loss whose windows must fit.
        loss_sides: smallest sides that the MDF losses take, by id, px.
        on_image: called before each image that is measured or shown.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        plan: RestorerPlan,
        *,
        loss_sides: Mapping[str, int],
        on_image: Callable[[], None],
    ) -> None:
        metrics = [METRICS[name].smallest_side for name in plan.recipe.validation_metrics]
        # A side that is no multiple of what task and network need is cut to one.
        smallest = max(smallest_patch(plan.loss, loss_sides), *metrics, 1) + plan.multiple - 1
        fitting = [each for each in pictures if min(each.width, each.height) >= smallest]
        self._pictures = fitting[: plan.recipe.validation_images]
        self._plan = plan
        self._on_image = on_image
        self._degradation = Degradation.of(plan)
        self._cache = PixelCache(self._pictures, _CACHE_BYTES)

    def __len__(self) -> int:
        return len(self._pictures)

    @torch.no_grad()
    def measure(
        self, network: nn.Module, objective: Objective, iteration: int, device: torch.device
    ) -> dict[str, float]:
        """Means over the images of the loss that is in force at `iteration`, and of the metrics.

        The adversarial part of a loss is left out.
        """
        rows = []
        for index in range(len(self)):
            degraded, target = self._batch(index, device)
            restored = network(degraded).float()
            loss, _ = objective(restored, target, iteration)
            rows.append({"loss": float(loss), **self._metrics(restored, target)})
        return _means(rows)

    @torch.no_grad()
    def measure_degraded(self, device: torch.device) -> dict[str, float]:
        """The metrics of what the network is given; small images are enlarged bicubically."""
        rows = []
        for index in range(len(self)):
            degraded, target = self._batch(index, device)
            rows.append(self._metrics(as_large(degraded, target), target))
        return _means(rows)

    @torch.no_grad()
    def samples(self, network: nn.Module, device: torch.device) -> list[Sample]:
        """The first `sample_images` images, restored by `network`."""
        samples = []
        for index in range(min(len(self), self._plan.recipe.sample_images)):
            degraded, target = self._batch(index, device)
            images = (as_large(degraded, target), network(degraded), target)
            samples.append(Sample(*(as_pixels(image) for image in images)))
        return samples

    def _batch(self, index: int, device: torch.device) -> Pair:
        self._on_image()
        pixels = self._cache.pixels(index)
        draw = random_numbers(self._plan.recipe.random_seed, _STREAM, index)
        generator = torch.Generator().manual_seed(int(draw.integers(2**63)))
        plan = self._plan
        crop = plan.recipe.validation_crop
        area = self._degradation.centre(*pixels.shape[:2], most=crop, multiple=plan.multiple)
        pair = self._degradation.pair(pixels, area, generator)
        return Pair(*(image[None].to(device) for image in pair))

    def _metrics(self, restored: Tensor, target: Tensor) -> dict[str, float]:
        names = self._plan.recipe.validation_metrics
        return measure(names, restored, target, PROTOCOL)


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}


def as_large(image: Tensor, target: Tensor) -> Tensor:
    """A batch that is smaller than its target, enlarged bicubically."""
    if image.shape == target.shape:
        return image
    return F.interpolate(image, size=target.shape[-2:], mode="bicubic", align_corners=False)


def as_pixels(image: Tensor) -> NDArray[np.uint8]:
    """The first image of a batch, in three channels."""
    pixels = (image[0].float().clamp(0, 1) * 255).round().byte().expand(3, -1, -1)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())
