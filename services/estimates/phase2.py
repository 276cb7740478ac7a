"""The work and the memory of a Phase 2 training, counted."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.estimates.layers import alexnet, discriminator, restorer, vgg, vgg_discriminator
from services.estimates.work import Layer, Work, forward
from services.phase2 import objective
from services.phase2.objective import Lpips, Mdf, Mix, MsSsim, Ssim, Vgg
from services.phase2.recipe import RestorerPlan

# Values that a metric writes for each pixel and colour, roughly.
_METRICS = {
    "psnr": 4,
    "ssim": 40,
    "ms_ssim": 54,
    "iw_ssim": 120,
    "gmsd": 24,
    "fsim": 160,
    "fsimc": 200,
}
_BASELINES = 1  # the degraded images are measured once
_SIMILARITY_MAPS = 5  # of two images: means, variances, covariance
_ZHAO_WINDOWS = 5
_VALUE_BYTES = 4


@dataclass(frozen=True)
class Discriminators:
    """The shape of an MDF loss, by its manifest."""

    widths: tuple[int, ...]
    layers: int
    padding: str


@dataclass(frozen=True)
class Images:
    """What is trained on, and how much of it is validated on."""

    count: int
    pixels: int  # of all together
    validated: int

    @property
    def side(self) -> float:
        """Of a square image of the mean size, px."""
        return math.sqrt(self.pixels / max(1, self.count))


def training(plan: RestorerPlan, images: Images, losses: Mapping[str, Discriminators]) -> Work:
    """All iterations and validations."""
    recipe = plan.recipe
    iterations = recipe.iterations_on(images.count)
    validations = math.ceil(iterations / recipe.validate_every)
    seen = min(recipe.validation_images, images.validated)
    shown = min(recipe.sample_images, seen)
    measured = _validation(plan, images, losses) * (seen * (validations + _BASELINES) + shown)
    return iteration(plan, losses) * iterations + measured


def iteration(plan: RestorerPlan, losses: Mapping[str, Discriminators]) -> Work:
    """One step of the optimiser."""
    recipe, side = plan.recipe, plan.recipe.patch
    network = list(restorer(plan.network, side, side))
    of_patch = forward(network) * 3 + _comparison(plan, side, losses)
    if plan.is_adversarial:
        judge = forward(vgg_discriminator(plan.network.channels, recipe.adversary.width, side))
        of_patch += judge * (3 + 6)  # of the restored image and its target; then its own step
    # A layer takes a whole part of the batch at once.
    passes = of_patch.layers * recipe.accumulate
    step = Work(
        layers=passes + len(network),
        multiply_adds=of_patch.multiply_adds * recipe.batch,
        values=of_patch.values * recipe.batch + _updated(plan, network),
    )
    return step + Work(pixels=recipe.batch * side**2)


def held(
    plan: RestorerPlan, images: Images, losses: Mapping[str, Discriminators]
) -> tuple[float, float]:
    """Values of layers that are held at once, at most; and bytes beside them."""
    recipe, side = plan.recipe, plan.recipe.patch
    network = list(restorer(plan.network, side, side))
    held = forward(network).values + _comparison(plan, side, losses, held=True).values
    if plan.is_adversarial:
        judge = vgg_discriminator(plan.network.channels, recipe.adversary.width, side)
        held += 2 * forward(judge).values
    patches = math.ceil(recipe.batch / recipe.accumulate)
    decoded = min(3 * images.pixels, recipe.cache_bytes)
    return held * patches, decoded + _VALUE_BYTES * _updated(plan, network)


def _updated(plan: RestorerPlan, network: list[Layer]) -> float:
    """Values of the weights, their gradients, the optimiser's moments and the average."""
    copies = 4 + (plan.recipe.ema is not None)
    return copies * sum(layer.weights for layer in network)


def _validation(plan: RestorerPlan, images: Images, losses: Mapping[str, Discriminators]) -> Work:
    """One image restored and measured."""
    side = max(plan.recipe.patch, int(min(plan.recipe.validation_crop, images.side)))
    metrics = sum(_METRICS[name] for name in plan.recipe.validation_metrics)
    return (
        forward(restorer(plan.network, side, side))
        + _comparison(plan, side, losses) * 0.5  # without gradient
        + Work(values=3 * metrics * side**2, pixels=side**2)
    )


def _comparison(
    plan: RestorerPlan, side: int, losses: Mapping[str, Discriminators], *, held: bool = False
) -> Work:
    """The loss of one patch, with its gradient; of losses in turn, the dearest.

    Args:
        held: count what is kept for the backward pass, not what is done.
    """
    channels = plan.network.channels
    works = [
        sum(
            (_single(each, channels, side, losses, held=held) for each in stage),
            Work(values=channels * side**2),
        )
        for stage in objective.comparing(plan.loss)
    ]
    return max(works, key=lambda work: work.multiply_adds + work.values)


def _single(
    loss: objective.Single,
    channels: int,
    side: int,
    losses: Mapping[str, Discriminators],
    *,
    held: bool,
) -> Work:
    match loss:
        case Mdf():
            return _mdf(losses[loss.loss_id], side, held=held)
        case Vgg():
            block, number = int(loss.layer[4]), int(loss.layer[6])
            return _features(vgg(loss.network, block, number, side, side), held=held)
        case Lpips():
            is_small = loss.network == "alex"
            network = alexnet(side, side) if is_small else vgg("vgg16", 5, 3, side, side)
            return _features(network, held=held)
        case Ssim():
            return _windows(loss.side, channels, side, 1)
        case MsSsim() | Mix():
            return _windows(31, channels, side, _ZHAO_WINDOWS)
        case _:
            return Work(layers=3, values=3 * channels * side**2)


def _mdf(shape: Discriminators, side: int, *, held: bool) -> Work:
    """Target and restored image forward, the latter backward to the image.

    One discriminator at a time: what it keeps is gone before the next one.
    """
    works = [
        forward(discriminator(width, shape.layers, shape.padding, side, side))
        for width in shape.widths
    ]
    if held:
        return max(works, key=lambda work: work.values) * 2
    return sum(works, Work()) * 3


def _features(layers: Iterator[Layer], *, held: bool) -> Work:
    return forward(layers) * (1 if held else 3)


def _windows(window: int, channels: int, side: int, count: int) -> Work:
    """Gaussian windows, by rows and columns, over the maps that a similarity is made of."""
    maps = count * _SIMILARITY_MAPS * channels * side**2
    return Work(layers=20 * count, multiply_adds=3 * 2 * window * maps, values=3 * 2 * maps)
