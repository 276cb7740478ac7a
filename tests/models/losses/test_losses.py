from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.errors import ShapeError
from models.losses import L1, L2, MSSSIM, SSIM, Charbonnier, Mix, PyramidMSSSIM
from models.losses.comparison import ComparisonLoss

Pair = tuple[Tensor, Tensor]

LOSSES = (
    L1(),
    L2(),
    Charbonnier(),
    SSIM(),
    SSIM(sigma=5),
    MSSSIM(),
    PyramidMSSSIM(levels=2),
    Mix(),
    Mix(alpha=0.025),
)
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)


@every_loss
def test_the_target_itself_has_no_loss(
    loss: ComparisonLoss, random_pair: Callable[..., Pair]
) -> None:
    _, target = random_pair(2, 3, 48, 48)
    least = loss.epsilon if isinstance(loss, Charbonnier) else 0
    assert loss(target, target).item() == pytest.approx(least, abs=1e-12)


@every_loss
def test_a_worse_image_has_a_larger_loss(loss: ComparisonLoss, noisy_astronaut: Pair) -> None:
    noisy, target = (each[..., :96, 128:224] for each in noisy_astronaut)
    values = [loss(torch.lerp(target, noisy, share), target).item() for share in (0.2, 0.5, 1)]
    assert values == sorted(values)
    assert values[0] > 0


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_gradient_is_finite_on_images_without_features(
    loss: ComparisonLoss, degenerate_pair: Pair, dtype: torch.dtype
) -> None:
    restored, target = (each[..., :48, :48].to(dtype) for each in degenerate_pair)
    leaf = restored.clone().requires_grad_()
    value = loss(leaf, target)
    value.backward()
    assert value.isfinite()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


@every_loss
def test_half_precision_is_compared_in_single(
    loss: ComparisonLoss, random_pair: Callable[..., Pair]
) -> None:
    restored, target = (each.bfloat16() for each in random_pair(1, 3, 48, 48))
    leaf = restored.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(leaf, target)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == loss(restored.float(), target.float()).item()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


@every_loss
def test_the_loss_takes_images_down_to_its_smallest_side(
    loss: ComparisonLoss, random_pair: Callable[..., Pair]
) -> None:
    side = loss.smallest_side
    assert loss(*random_pair(1, 1, side, side)).isfinite()
    if side > 1:
        with pytest.raises(ShapeError, match=f"{side} × {side - 1} pixels; at least {side}"):
            loss(*random_pair(1, 3, side, side - 1))


def test_pixelwise_losses_are_their_formulas() -> None:
    restored = torch.tensor([0.5, 0.2, 0.9]).reshape(1, 3, 1, 1)
    target = torch.tensor([0.1, 0.2, 0.8]).reshape(1, 3, 1, 1)
    assert L1()(restored, target).item() == pytest.approx(0.5 / 3)
    assert L2()(restored, target).item() == pytest.approx(0.17 / 3)
    expected = (0.4**2 + 0.01) ** 0.5 + 0.1 + (0.1**2 + 0.01) ** 0.5
    assert Charbonnier(epsilon=0.1)(restored, target).item() == pytest.approx(expected / 3)


def test_all_five_levels_keep_wangs_weights_and_fewer_sum_to_one() -> None:
    assert PyramidMSSSIM().weights == (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    assert PyramidMSSSIM().smallest_side == 176
    assert sum(PyramidMSSSIM(levels=3).weights) == pytest.approx(1)
    assert PyramidMSSSIM(levels=3).smallest_side == 44


def test_the_pyramid_of_one_level_is_ssim(random_pair: Callable[..., Pair]) -> None:
    """All weight is on the only level, where l counts too; noise leaves the structure alike."""
    pair = random_pair(1, 3, 32, 32, noise=0.05)
    assert PyramidMSSSIM(levels=1)(*pair).item() == pytest.approx(SSIM()(*pair).item())


def test_mix_is_the_weighted_sum_of_its_terms(random_pair: Callable[..., Pair]) -> None:
    pair = random_pair(1, 3, 40, 40)
    similarity, distance = Mix(alpha=1)(*pair), Mix(alpha=0)(*pair)
    assert similarity.item() == pytest.approx(MSSSIM()(*pair).item())
    expected = 0.84 * similarity + 0.16 * distance
    assert Mix()(*pair).item() == pytest.approx(expected.item())


def test_the_distance_within_mix_is_an_absolute_difference_under_weights_that_sum_to_one() -> None:
    level = torch.full((1, 1, 31, 31), 0.25)
    assert Mix(alpha=0)(level + 0.5, level).item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SSIM(sigma=0), "sigma is 0; it must be above 0"),
        (lambda: SSIM(window=10), "window is 10; it must be odd"),
        (lambda: Mix(alpha=1.5), "alpha is 1.5; it must be from 0 to 1"),
        (lambda: PyramidMSSSIM(levels=6), "levels is 6; it must be from 1 to 5"),
        (lambda: Charbonnier(epsilon=0), "epsilon is 0; it must be above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    make: Callable[[], ComparisonLoss], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()
