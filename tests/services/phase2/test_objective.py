import subprocess
import sys
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from models.losses import L2, MSSSIM, SSIM, Mix, PyramidMSSSIM
from services.errors import BadInputError
from services.phase2.objective import (
    MAX_TERMS,
    AnyLoss,
    Schedule,
    adversarial_weight,
    build,
    is_adversarial,
    loss_ids,
    needs_colour,
    pinned,
    smallest_patch,
)

SPECS: TypeAdapter[AnyLoss] = TypeAdapter(AnyLoss)

MDF = {"kind": "mdf", "loss_id": "loss_a"}
GAN = {"kind": "relativistic_gan"}
IMAGES = torch.full((1, 3, 48, 48), 0.5), torch.full((1, 3, 48, 48), 0.3)


def parse(spec: dict[str, Any]) -> AnyLoss:
    return SPECS.validate_python(spec)


def weighted(*terms: tuple[float, dict[str, Any]]) -> dict[str, Any]:
    return {"kind": "sum", "terms": [{"weight": weight, "loss": loss} for weight, loss in terms]}


def scheduled(*stages: tuple[int | None, dict[str, Any]]) -> dict[str, Any]:
    return {"kind": "schedule", "stages": [{"until": end, "loss": loss} for end, loss in stages]}


def test_reading_a_spec_does_not_import_torch() -> None:
    script = "import sys, services.phase2.objective; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    "kind", ["l1", "l2", "charbonnier", "ssim", "ms_ssim", "mix", "vgg", "lpips"]
)
def test_a_kind_alone_is_a_loss_and_survives_a_round_trip(kind: str) -> None:
    spec = parse({"kind": kind})
    assert spec.kind == kind
    assert SPECS.validate_json(SPECS.dump_json(spec)) == spec


def test_sums_and_schedules_survive_a_round_trip() -> None:
    nested = weighted((1, {"kind": "l2"}), (0.5, weighted((2, MDF), (0.01, GAN))))
    spec = parse(scheduled((1200, {"kind": "l1"}), (None, nested)))
    assert SPECS.validate_json(SPECS.dump_json(spec)) == spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "l3"}, r"'l3'.*'l1', 'l2'"),
        ({"kind": "l1", "weight": 2}, "weight\n.*Extra inputs"),
        ({"kind": "ssim", "window": 10}, "odd side: 9 or 11 instead of 10"),
        ({"kind": "ms_ssim", "form": "wang", "window": 21}, "`window` is no setting of .*'wang'"),
        ({"kind": "ms_ssim", "levels": 3}, "`levels` is no setting of the form 'zhao'"),
        ({"kind": "mix", "alpha": 2}, "less than or equal to 1"),
        ({"kind": "vgg", "network": "vgg16", "layer": "conv4_4"}, "block 4 .* ends with conv4_3"),
        ({"kind": "mdf"}, "loss_id\n.*Field required"),
        (GAN, "'relativistic_gan'"),
        (weighted(), "at least 1 item"),
        (weighted((0, {"kind": "l1"})), "greater than 0"),
        (weighted((1, GAN)), "relativistic_gan stands alone in the sum; add a loss"),
        (weighted((1, {"kind": "l1"}), (1, GAN), (2, GAN)), "more than once"),
        (weighted((1, scheduled((5, {"kind": "l1"}), (None, {"kind": "l2"})))), "'schedule'"),
        (scheduled((None, {"kind": "l1"})), "at least 2 items"),
        (scheduled((5, {"kind": "l1"}), (9, {"kind": "l2"})), "the last stage has `until` 9"),
        (scheduled((None, {"kind": "l1"}), (None, {"kind": "l2"})), "stage 1 of 2 has no `until`"),
        (
            scheduled((5, {"kind": "l1"}), (5, {"kind": "l2"}), (None, {"kind": "l1"})),
            "stage 2 has `until` 5; it must be above 5",
        ),
        (scheduled((5, GAN), (None, {"kind": "l2"})), "'relativistic_gan'"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parse(spec)


def test_sums_are_limited_in_depth_and_number() -> None:
    deep = {"kind": "l1"}
    for _ in range(4):
        deep = weighted((1, deep))
    parse(deep)
    with pytest.raises(ValidationError, match="more than 4 deep"):
        parse(weighted((1, deep)))
    wide = weighted(*[(1, {"kind": "l1"})] * (MAX_TERMS // 2))
    parse(weighted((1, wide), (1, wide)))
    with pytest.raises(ValidationError, match="17 losses are added up; 16 are allowed"):
        parse(weighted((1, wide), (1, wide), (1, {"kind": "l1"})))


def test_an_endless_nesting_is_refused_without_a_crash() -> None:
    deep = {"kind": "l1"}
    for _ in range(3000):
        deep = weighted((1, deep))
    with pytest.raises(ValidationError):
        parse(deep)


def test_the_losses_of_the_catalogue_are_named_and_pinned() -> None:
    other = {"kind": "mdf", "loss_id": "loss_b"}
    spec = parse(scheduled((5, MDF), (None, weighted((1, other), (1, weighted((1, MDF)))))))
    assert loss_ids(spec) == {"loss_a", "loss_b"}
    fixed = pinned(spec, {"loss_a": "a" * 64, "loss_b": "b" * 64})
    text = SPECS.dump_json(fixed).decode()
    assert (text.count("a" * 64), text.count("b" * 64)) == (2, 1)
    assert loss_ids(fixed) == {"loss_a", "loss_b"}
    assert pinned(fixed, {"loss_a": "a" * 64, "loss_b": "b" * 64}) == fixed
    with pytest.raises(BadInputError, match=f"loss_a has the digest {'c' * 64}; the request"):
        pinned(fixed, {"loss_a": "c" * 64, "loss_b": "b" * 64})


def test_the_adversarial_weight_is_that_of_the_iterations_stage() -> None:
    nested = weighted((1, {"kind": "l1"}), (0.5, weighted((1, MDF), (0.01, GAN))))
    spec = parse(scheduled((100, {"kind": "l1"}), (None, nested)))
    assert adversarial_weight(spec, 99) == 0
    assert adversarial_weight(spec, 100) == pytest.approx(0.005)
    assert is_adversarial(spec)
    assert not is_adversarial(parse({"kind": "mix"}))


@pytest.mark.parametrize(
    ("spec", "side", "colour"),
    [
        ({"kind": "l1"}, 1, False),
        ({"kind": "ssim"}, 11, False),
        ({"kind": "ssim", "sigma": 5}, 37, False),
        ({"kind": "ssim", "sigma": 9, "window": 31}, 31, False),
        ({"kind": "ms_ssim"}, 31, False),
        ({"kind": "ms_ssim", "form": "wang"}, 176, False),
        ({"kind": "ms_ssim", "form": "wang", "levels": 2}, 22, False),
        ({"kind": "mix", "window": 21}, 21, False),
        ({"kind": "vgg"}, 16, True),
        ({"kind": "vgg", "layer": "relu2_2"}, 2, True),
        ({"kind": "lpips"}, 31, True),
        (MDF, 11, True),
        (weighted((1, {"kind": "ssim"}), (1, MDF), (1, GAN)), 11, True),
        (scheduled((5, {"kind": "mix"}), (None, {"kind": "l2"})), 31, False),
    ],
)
def test_the_smallest_patch_and_the_channels_are_known(
    spec: dict[str, Any], side: int, colour: bool
) -> None:
    assert smallest_patch(parse(spec), {"loss_a": 11}) == side
    assert needs_colour(parse(spec)) is colour


@pytest.mark.parametrize(
    ("spec", "loss"),
    [
        ({"kind": "l2"}, L2()),
        ({"kind": "ssim", "sigma": 5}, SSIM(sigma=5)),
        ({"kind": "ssim", "sigma": 5, "window": 21}, SSIM(sigma=5, window=21)),
        ({"kind": "ms_ssim", "window": 33}, MSSSIM(window=33)),
        ({"kind": "ms_ssim", "form": "wang", "levels": 2}, PyramidMSSSIM(levels=2)),
        ({"kind": "mix", "alpha": 0.025}, Mix(alpha=0.025)),
    ],
)
def test_a_spec_builds_its_loss(spec: dict[str, Any], loss: nn.Module) -> None:
    parsed = parse(spec)
    total, terms = build(parsed, {})(*IMAGES, 0)
    assert total.item() == pytest.approx(loss(*IMAGES).item())
    assert list(terms) == [spec["kind"]]
    assert loss.smallest_side == smallest_patch(parsed)


def test_nested_sums_build_one_with_the_products_of_the_weights() -> None:
    spec = parse(
        weighted(
            (2, {"kind": "l1"}),
            (0.5, weighted((3, {"kind": "ssim"}), (4, {"kind": "ssim", "sigma": 5}), (0.1, GAN))),
            (10, MDF),
        )
    )
    objective = build(spec, {"loss_a": L2()})
    total, terms = objective(*IMAGES, 0, adversarial=lambda: torch.tensor(7.0))
    ssim, ssim5 = SSIM()(*IMAGES).item(), SSIM(sigma=5)(*IMAGES).item()
    expected = {"l1": 0.2, "ssim": ssim, "ssim-2": ssim5, "relativistic_gan": 7, "mdf": 0.04}
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected)
    assert total.item() == pytest.approx(0.4 + 1.5 * ssim + 2 * ssim5 + 0.05 * 7 + 0.4)


def test_a_schedule_builds_stages() -> None:
    spec = parse(scheduled((1200, {"kind": "l1"}), (None, {"kind": "l2"})))
    assert isinstance(spec, Schedule)
    objective = build(spec, {})
    assert [list(objective(*IMAGES, i)[1]) for i in (0, 1199, 1200)] == [["l1"], ["l1"], ["l2"]]
    assert [spec.at(i).kind for i in (0, 1199, 1200)] == ["l1", "l1", "l2"]


def test_a_loss_that_is_not_loaded_is_named() -> None:
    with pytest.raises(BadInputError, match="the loss loss_a is not loaded; loaded: loss_b"):
        build(parse(MDF), {"loss_b": L2()})
