"""One image, degraded once for all models: what each makes of it, and how near that is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdf.loss import MDFLoss
from models.metrics import METRICS, Metric, measure
from models.restorers import Restorer
from services.errors import BadInputError
from services.evaluation.selection import common_multiple
from services.evaluation.spec import INPUT, MetricName
from services.phase2.degradation import Degradation
from services.phase2.patches import random_numbers
from services.phase2.tasks import AnyTask
from services.phase2.validation import PROTOCOL, as_large
from services.restoration.tiling import OnTile, restore_tensor
from services.restorers.networks import AnyNetwork

Pixels = NDArray[np.uint8]

_STREAM = 4  # of random numbers; `phase2` has others


@dataclass(frozen=True)
class Degraded:
    """An image as the models are given it, with what they should make of it: (1, C, H, W).

    `given` has it for models that enlarge (True), for those that do not (False), or for both.
    """

    given: Mapping[bool, Tensor]
    target: Tensor

    @property
    def as_shown(self) -> Tensor:
        """As large as the target: bicubically, if it is small."""
        return as_large(self.given[max(self.given)], self.target)


class Degradations:
    """Degrades each image as a training's validation does: the same for every model.

    The image is grey if all models are. Of images of other sizes the centre is taken.
    """

    def __init__(
        self, task: AnyTask, networks: Sequence[AnyNetwork], *, crop: int, random_seed: int
    ) -> None:
        grey = all(network.channels == 1 for network in networks)
        self._forms = {
            enlarges: Degradation(task, grey=grey, enlarges=enlarges)
            for enlarges in {network.scale > 1 for network in networks}
        }
        self._multiple = common_multiple(task, networks)
        self._crop = crop
        self._seed = random_seed

    def degrade(self, pixels: Pixels, position: int) -> Degraded:
        """The image at `position` of its data set, which says how it is degraded."""
        draw = random_numbers(self._seed, _STREAM, position).integers(2**63)
        given: dict[bool, Tensor] = {}
        for enlarges, form in self._forms.items():
            area = form.centre(*pixels.shape[:2], most=self._crop, multiple=self._multiple)
            generator = torch.Generator().manual_seed(int(draw))
            pair = form.pair(pixels, area, generator)
            given[enlarges] = pair.degraded[None]
        return Degraded(given, pair.target[None])


class Meter:
    """Scores restored images, as 8-bit files of them, by metrics and by MDF losses.

    Args:
        metrics: by name.
        losses: MDF losses by id.
        lpips: that metric, if it is among the names.
    """

    def __init__(
        self,
        metrics: Sequence[MetricName],
        losses: Mapping[str, MDFLoss],
        *,
        lpips: Metric | None,
        device: torch.device,
    ) -> None:
        self._names = metrics
        self._others = {} if lpips is None else {"lpips": lpips}
        self._losses = {loss_id: loss.to(device) for loss_id, loss in losses.items()}
        self._device = device

    def facts(self) -> list[Metric]:
        """Of the metrics, in their order."""
        return [{**METRICS, **self._others}[name] for name in self._names]

    @torch.no_grad()
    def score(self, restored: Tensor, target: Tensor) -> dict[str, float]:
        """Of one image, (1, C, H, W), by name of the metric or id of the loss."""
        restored, target = (image.to(self._device) for image in (restored, target))
        plain = [name for name in self._names if name not in self._others]
        scores = measure(plain, restored, target, PROTOCOL)
        # What else there is compares colours.
        colours = restored.expand(-1, 3, -1, -1), target.expand(-1, 3, -1, -1)
        scores |= measure(self._others, *colours, PROTOCOL, others=self._others)
        prepared = [PROTOCOL.prepare(image) for image in colours]
        scores |= {loss_id: float(loss(*prepared)) for loss_id, loss in self._losses.items()}
        return scores


def results(
    degraded: Degraded, restorers: Mapping[str, Restorer], *, on_tile: OnTile
) -> Iterator[tuple[str, Tensor]]:
    """What is compared: the degraded image itself, then what each model makes of it, by id."""
    yield INPUT, degraded.as_shown
    for model_id, restorer in restorers.items():
        given = degraded.given[restorer.scale > 1]
        # A model of one channel restores the planes of a colour image one by one.
        planes = torch.split(given, restorer.channels, dim=1)
        parts = [restore_tensor(restorer, plane, on_tile=on_tile) for plane in planes]
        restored = torch.cat(parts, dim=1)
        if not torch.isfinite(restored).all():
            raise BadInputError(
                f"model {model_id} gives values that are not finite: its weights are damaged, or "
                "of another network; leave it out"
            )
        yield model_id, restored
