"""What holds for every distortion of the union."""

import subprocess
import sys
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from services.distortions import AnyDistortion, Distortion, distort

EXAMPLES: list[dict[str, Any]] = [
    {"kind": "gaussian_noise", "sigma": [5, 25]},
    {"kind": "poisson_gaussian_noise", "a": [0.001, 0.01], "b": 0.0001},
    {"kind": "salt_and_pepper", "amount": [0.01, 0.2]},
    {"kind": "jpeg", "quality": [5, 30]},
    {"kind": "webp", "quality": [5, 30]},
    {"kind": "gaussian_blur", "sigma": [0.5, 2]},
    {"kind": "motion_blur", "length": [3, 9], "angle": [0, 180]},
    {"kind": "rescale", "factor": [1.5, 4], "kernel": "lanczos"},
    {"kind": "bayer_mosaic", "pattern": "GRBG"},
]
ANY: TypeAdapter[Distortion] = TypeAdapter(AnyDistortion)

every_distortion = pytest.mark.parametrize("spec", EXAMPLES, ids=lambda spec: spec["kind"])


def test_every_distortion_of_the_union_has_an_example_here() -> None:
    classes = get_args(get_args(AnyDistortion)[0])
    assert {cls.model_fields["kind"].default for cls in classes} == {e["kind"] for e in EXAMPLES}


@every_distortion
def test_it_changes_the_image_and_keeps_its_shape_and_type(
    spec: dict[str, Any], photograph: Tensor, generator: torch.Generator
) -> None:
    before = photograph.clone()
    distorted = ANY.validate_python(spec).apply(photograph, generator)
    assert distorted.shape == photograph.shape
    assert distorted.dtype == photograph.dtype
    assert 1e-6 < (distorted - photograph).square().mean() < 0.05
    assert torch.equal(photograph, before)


@every_distortion
def test_it_is_reproducible_from_the_generators_state(
    spec: dict[str, Any], photograph: Tensor, generator: torch.Generator
) -> None:
    distortion = ANY.validate_python(spec)
    state = generator.get_state()
    first = distortion.apply(photograph, generator)
    second = distortion.apply(photograph, generator)
    generator.set_state(state)
    assert torch.equal(distortion.apply(photograph, generator), first)
    assert torch.equal(first, second) == (spec["kind"] == "bayer_mosaic")


@every_distortion
def test_it_leaves_torchs_global_generator_alone(
    spec: dict[str, Any], photograph: Tensor, generator: torch.Generator
) -> None:
    before = torch.get_rng_state()
    ANY.validate_python(spec).apply(photograph, generator)
    assert torch.equal(torch.get_rng_state(), before)


@every_distortion
def test_it_works_on_odd_sizes_batches_and_double_precision(
    spec: dict[str, Any], photograph: Tensor, generator: torch.Generator
) -> None:
    batch = photograph[..., :33, :17].double().expand(2, -1, -1, -1)
    distorted = ANY.validate_python(spec).apply(batch, generator)
    assert distorted.shape == (2, 3, 33, 17)
    assert distorted.dtype == torch.float64
    assert distorted.isfinite().all()


@every_distortion
def test_it_refuses_an_unknown_parameter_by_name(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        ANY.validate_python(spec | {"strength": 1})
    (error,) = caught.value.errors()
    assert error["loc"][-1] == "strength"


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=r"'gaussian_noise', .*'bayer_mosaic'"):
        ANY.validate_python({"kind": "fog"})


def test_a_pipeline_applies_in_the_given_order(
    photograph: Tensor, generator: torch.Generator
) -> None:
    noise = ANY.validate_python({"kind": "gaussian_noise", "sigma": 30})
    blur = ANY.validate_python({"kind": "gaussian_blur", "sigma": 2})
    grey = torch.full_like(photograph, 0.5)
    blurred_noise = distort(grey, [noise, blur], generator)
    noise_on_blur = distort(grey, [blur, noise], generator)
    assert noise_on_blur.std().item() * 255 == pytest.approx(30, rel=0.02)
    # A Gaussian blur divides the standard deviation of white noise by 2σ√π.
    expected = 30 / (2 * 2 * torch.pi**0.5)
    assert blurred_noise.std().item() * 255 == pytest.approx(expected, rel=0.05)


def test_the_specifications_do_not_import_torch() -> None:
    program = (
        "import sys, services.distortions, services.phase1.recipe\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
