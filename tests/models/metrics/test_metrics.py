"""What holds for every metric."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.errors import ShapeError
from models.metrics import METRICS, Metric, Protocol, measure, score

Pair = tuple[Tensor, Tensor]
BEST = {"psnr": 100.0, "gmsd": 0.0, "l1": 0.0, "l2": 0.0}

# A power of 0.03 is steep where the chroma of the images turns from alike to opposite.
WITHOUT_CUSPS = {name: metric for name, metric in METRICS.items() if name != "fsimc"}

every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def side_of(metric: Metric) -> int:
    """Of images that are small and large enough."""
    return max(metric.smallest_side, 48)


@every_metric
def test_equal_images_have_the_best_score(metric: Metric, random_pair: Callable[..., Pair]) -> None:
    _, image = random_pair(2, 3, side_of(metric), side_of(metric) + 9)
    best = BEST.get(metric.name, 1.0)
    assert metric(image, image) == pytest.approx([best, best], abs=1e-12)
    assert best == metric.range[int(metric.higher_is_better)]


@every_metric
def test_a_worse_image_has_a_worse_score(metric: Metric, noisy_astronaut: Pair) -> None:
    noisy, target = (each[..., :180, :180] for each in noisy_astronaut)
    scores = [metric(torch.lerp(target, noisy, share), target).item() for share in (0.2, 0.5, 1)]
    assert scores == sorted(scores, reverse=metric.higher_is_better)
    assert all(metric.range[0] <= each <= metric.range[1] for each in scores)


@every_metric
def test_each_image_of_a_batch_has_a_score_of_its_own(
    metric: Metric, random_pair: Callable[..., Pair]
) -> None:
    restored, target = random_pair(3, 3, side_of(metric), side_of(metric) + 9)
    restored[1] = target[1]
    alone = torch.cat([metric(x[None], y[None]) for x, y in zip(restored, target, strict=True)])
    assert torch.allclose(metric(restored, target), alone, atol=1e-12)


@every_metric
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_gradient_is_finite_on_images_without_features(
    metric: Metric, degenerate_pair: Pair, dtype: torch.dtype
) -> None:
    side = side_of(metric)
    restored, target = (each[..., :side, :side].to(dtype) for each in degenerate_pair)
    leaf = restored.clone().requires_grad_()
    values = metric(leaf, target)
    values.sum().backward()
    assert values.isfinite().all()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("metric", WITHOUT_CUSPS.values(), ids=WITHOUT_CUSPS)
def test_the_gradient_is_the_slope(metric: Metric, noisy_astronaut: Pair) -> None:
    stop = 100 + side_of(metric)
    restored, target = (each[..., 100:stop, 100:stop] for each in noisy_astronaut)
    direction = torch.randn(restored.shape, generator=torch.Generator().manual_seed(1)).double()
    leaf = restored.clone().requires_grad_()
    metric(leaf, target).backward()
    assert leaf.grad is not None
    step = 1e-6
    ahead, behind = (metric(restored + s * direction, target) for s in (step, -step))
    slope = (ahead - behind).item() / (2 * step)
    assert (leaf.grad * direction).sum().item() == pytest.approx(slope, rel=1e-3, abs=1e-7)


@every_metric
def test_grey_images_are_scored(metric: Metric, noisy_astronaut: Pair) -> None:
    """A grey image has the score of the same image in three equal channels."""
    restored, target = (each[:, :1, :180, :180] for each in noisy_astronaut)
    colour = metric(restored.expand(-1, 3, -1, -1), target.expand(-1, 3, -1, -1))
    assert metric(restored, target).item() == pytest.approx(colour.item(), abs=2e-4)


@every_metric
def test_images_below_the_smallest_side_are_refused(
    metric: Metric, random_pair: Callable[..., Pair]
) -> None:
    side = metric.smallest_side
    assert metric(*random_pair(1, 3, side, side)).isfinite().all()
    if side > 1:
        with pytest.raises(ShapeError, match=f"{side - 1} × {side} pixels; at least {side}"):
            metric(*random_pair(1, 3, side - 1, side))


def test_half_precision_is_compared_in_single(random_pair: Callable[..., Pair]) -> None:
    restored, target = random_pair(1, 3, 64, 64, dtype=torch.float32)
    halves = restored.bfloat16(), target.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = METRICS["ssim"](*halves)
    assert found.dtype == torch.float32
    assert torch.equal(found, METRICS["ssim"](*(each.float() for each in halves)))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 3, 8, 8), (1, 3, 8, 9)), r"\(1, 3, 8, 8\) and \(1, 3, 8, 9\); they must have the"),
        (((3, 8, 8), (3, 8, 8)), r"\(3, 8, 8\); they must be \(N, C, H, W\)"),
        (((1, 2, 8, 8), (1, 2, 8, 8)), "2 channels.*; 1 or 3 are allowed"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        METRICS["gmsd"](*(torch.zeros(shape) for shape in shapes))


def test_whole_numbers_are_refused() -> None:
    pixels = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ShapeError, match=r"torch.uint8; they must be floating-point"):
        METRICS["l1"](pixels, pixels)


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    image = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"'snr' is no metric; there are psnr, ssim, .*fsimc"):
        measure(["snr"], image, image)


def test_scores_are_of_each_image_and_measures_their_mean(
    random_pair: Callable[..., Pair],
) -> None:
    restored, target = random_pair(4, 3, 32, 32)
    scores = score(["psnr", "l1"], restored, target)
    assert scores["psnr"].shape == (4,)
    measured = measure(["psnr", "l1"], restored, target)
    assert measured == {name: pytest.approx(each.mean().item()) for name, each in scores.items()}


def test_the_protocol_says_what_is_compared() -> None:
    """A pixel of 0.5 against 0.4: after the border is cut, in 8 bits, and as luma."""
    target = torch.full((1, 3, 6, 6), 0.4, dtype=torch.float64)
    restored = target.clone()
    restored[..., 2:4, 2:4] = 0.5
    restored[..., 0, 0] = 7.0
    found = measure(["l1"], restored, target, Protocol(border=2))
    assert found["l1"] == pytest.approx(0.1)
    found = measure(["l1"], restored, target, Protocol(border=2, eight_bit=True))
    assert found["l1"] == pytest.approx((128 - 102) / 255)
    found = measure(["l1"], restored, target, Protocol(border=2, colour="y"))
    assert found["l1"] == pytest.approx(0.1 * 219 / 255)
    found = measure(["l1"], 255 * restored, 255 * target, Protocol(border=2, value_range=255))
    assert found["l1"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"value_range": 0}, "value_range is 0; it must be above 0"),
        ({"border": -1}, "border is -1 pixels; it must be 0 or more"),
        ({"colour": "lab"}, "colour is 'lab'; it must be"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Protocol(**settings)  # type: ignore[arg-type]


def test_a_border_that_leaves_nothing_is_refused() -> None:
    image = torch.zeros(1, 3, 8, 9)
    with pytest.raises(ShapeError, match=r"\(1, 3, 8, 9\).*the border of 4 pixels"):
        measure(["l1"], image, image, Protocol(border=4))
