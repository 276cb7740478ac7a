"""Which images of a data set an evaluation takes. Nothing here imports torch."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.datasets.picture import Picture
from services.errors import BadInputError
from services.phase2 import holdout
from services.phase2.recipe import multiple_of
from services.phase2.tasks import AnyTask
from services.restorers.networks import AnyNetwork

Manifest = Mapping[str, Any]


def common_multiple(task: AnyTask, networks: Iterable[AnyNetwork]) -> int:
    """Sides of the images are multiples of it, px, so that every model takes them."""
    return math.lcm(*(multiple_of(task, network) for network in networks))


def smallest_side(sides: Iterable[int], multiple: int) -> int:
    """Smallest side, px, of images of which that much is left once they are cut to multiples."""
    return max(sides, default=1) + multiple - 1


@dataclass(frozen=True)
class Selection:
    """The images that are measured.

    Attributes:
        pictures: each with its position in the data set.
        held_out: whether they are those that trainings on this data set held out.
        trained_on: ids of the models whose trainings may have seen some of them.
    """

    pictures: list[tuple[int, Picture]]
    held_out: bool
    trained_on: list[str]


def select(
    pictures: Sequence[Picture], models: Mapping[str, Manifest], *, smallest: int, most: int
) -> Selection:
    """At most `most` of the images that are `smallest` px or more on each side, evenly spread.

    Models that were trained on this very data set are measured on what their trainings held out
    of it; where one held out nothing, that cannot be helped, and is told.

    Args:
        pictures: of the data set, in order.
        models: their manifests, by id.
        smallest: side that tasks, networks and metrics ask for, px.
        most: how many to take.

    Raises: BadInputError if no image is large enough.
    """
    digest = holdout.digest(pictures)
    trained = {
        model_id: _held_out(pictures, manifest["dataset"])
        for model_id, manifest in models.items()
        if manifest["dataset"].get("digest") == digest
    }
    unseen = min((each for each in trained.values() if each), key=len, default=[])
    chosen = {picture.digest for picture in unseen or pictures}
    fitting = [
        (position, picture)
        for position, picture in enumerate(pictures)
        if picture.digest in chosen and min(picture.width, picture.height) >= smallest
    ]
    if not fitting:
        largest = max((min(each.width, each.height) for each in unseen or pictures), default=0)
        raise BadInputError(
            f"none of the {len(chosen)} images is {smallest} px or more on its shorter side, as "
            f"the metrics and the models need; the largest has {largest} px: use larger images, "
            "or leave out metrics with large windows (ms_ssim, iw_ssim)"
        )
    places = np.linspace(0, len(fitting) - 1, min(most, len(fitting))).round().astype(int)
    seen = [model_id for model_id, held_out in trained.items() if not held_out]
    return Selection([fitting[place] for place in places], bool(unseen), seen)


def _held_out(pictures: Sequence[Picture], dataset: Manifest) -> list[Picture]:
    """What the training of a manifest held out of these pictures; empty if nothing."""
    held_out = holdout.first(pictures, int(dataset.get("validation_images", 0)))
    return held_out if holdout.digest(held_out) == dataset.get("validation_digest") else []
