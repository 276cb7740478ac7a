import io
from typing import Any

import pytest
import torch
from PIL import Image

import mdf
from services.phase1.job import LossPackage, run_discriminator_training
from services.phase1.recipe import DiscriminatorTraining, Recipe
from services.phase1.training import Seed


@pytest.fixture
def spec(tiny: Recipe) -> DiscriminatorTraining:
    overrides = tiny.model_dump() | {"scales": 2, "iterations": 2}
    return DiscriminatorTraining.model_validate(
        {"seed_image_ids": ["img_1"], "task": {"kind": "jpeg"}, "recipe": overrides}
    )


@pytest.fixture
def package(spec: DiscriminatorTraining, seed: Seed, recording: Any) -> LossPackage:
    return run_discriminator_training(spec, [seed], recording())


def test_every_format_is_the_same_loss(package: LossPackage, seed: Seed) -> None:
    target = torch.from_numpy(seed.pixels.copy()).permute(2, 0, 1)[None].float() / 255
    restored = target.flip(-1)
    value = mdf.load_loss(package.files["safetensors"])(restored, target)
    assert value > 0
    assert torch.allclose(mdf.load_loss(package.files["pth"])(restored, target), value)
    program = torch.export.load(io.BytesIO(package.files["pt2"])).module()
    assert torch.allclose(program(restored, target), value, rtol=1e-4)


def test_the_same_job_gives_the_same_bytes(
    spec: DiscriminatorTraining, package: LossPackage, seed: Seed, recording: Any
) -> None:
    again = run_discriminator_training(spec, [seed], recording())
    assert again.manifest == package.manifest
    assert again.files == package.files
    assert again.contact_sheet == package.contact_sheet


def test_the_contact_sheet_is_a_picture(package: LossPackage) -> None:
    assert Image.open(io.BytesIO(package.contact_sheet)).format == "PNG"
