"""The work and the memory of a Phase 1 training, counted."""

from collections.abc import Sequence

from services.estimates.layers import discriminator, generator
from services.estimates.work import Work, forward
from services.phase1.recipe import Recipe, scale_sizes

# Passes through the discriminator in one of its steps, forward and backward. The gradient penalty
# has a forward, a backward to the image, and the backward of both.
_STEP = {"wgan-gp": 3 + 3 + 6, "bce": 3 + 3}
# The graphs that are held at once in such a step, as forward passes.
_HELD = {"wgan-gp": 1 + 1 + 3, "bce": 1 + 1}

Size = tuple[int, int]


def training(recipe: Recipe, sizes: Sequence[Size], distortions: int) -> Work:
    """All iterations on seeds of these (width, height) in px, one seed drawn in each."""
    whole = Work()
    for scale in range(recipe.scales):
        for size in sizes:
            once = iteration(recipe, scale, _size_at(recipe, scale, size), distortions)
            whole += once * (recipe.iterations / len(sizes))
    return whole


def iteration(recipe: Recipe, scale: int, size: Size, distortions: int) -> Work:
    """One iteration of `scale`, 0 the coarsest, on an image of (width, height) px."""
    judge, make = _networks(recipe, scale, size)
    steps = recipe.discriminator_steps, recipe.generator_steps
    judged = _STEP[recipe.objective] * steps[0] + 2 * steps[1]
    # The last fake of the discriminator's steps serves the first step of the generator.
    made = steps[0] + 3 * steps[1] - 1
    distorted = distortions * (sum(steps) - 1)
    width, height = size
    return judge * judged + make * made + Work(pixels=distorted * width * height)


def held_values(recipe: Recipe, sizes: Sequence[Size]) -> float:
    """Values of layers that are held at once, at most."""
    held = 0.0
    for scale in range(recipe.scales):
        for size in sizes:
            judge, make = _networks(recipe, scale, _size_at(recipe, scale, size))
            held = max(held, _HELD[recipe.objective] * judge.values + make.values)
    return held


def _size_at(recipe: Recipe, scale: int, seed: Size) -> Size:
    """Of what an iteration works on: the seed at that scale, or a crop of it."""
    columns, rows = scale_sizes(recipe, *seed)[scale]
    side = recipe.crop or max(columns, rows)
    return min(columns, side), min(rows, side)


def _networks(recipe: Recipe, scale: int, size: Size) -> tuple[Work, Work]:
    """One forward pass of the discriminator, and of the generator."""
    width, height = size
    channels = recipe.width_at(scale)
    judge = discriminator(channels, recipe.layers, recipe.padding, height, width)
    return forward(judge), forward(generator(channels, recipe.layers, height, width))
