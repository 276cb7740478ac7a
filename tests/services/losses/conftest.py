"""A loss that was trained, in seconds, and stored; a photograph to try it on."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data, transform

from mdf import MDFLoss, export
from mdf.artefact import write_artefact
from services.blobs import Blobs
from services.images.catalogue import pixels
from services.losses.pictures import encode
from services.phase1.recipe import JpegRestoration, Recipe
from services.phase1.training import Seed, train_loss
from tests.services.conftest import RecordingRun

_SEED = np.ascontiguousarray(data.astronaut()[0:64, 180:252])
_RECIPE = Recipe(
    scales=3, factor="auto", min_size=15, max_size=48, width=8, iterations=30, lr_decay_at=24
)


@dataclass(frozen=True)
class StoredLoss:
    """A loss, its three files, and where one of them lies."""

    loss: MDFLoss
    files: dict[str, bytes]
    blobs: Path
    key: str


@pytest.fixture(scope="session")
def small_loss(tmp_path_factory: pytest.TempPathFactory) -> StoredLoss:
    """A loss for JPEG of three scales."""
    torch.manual_seed(0)
    seed = Seed(sha256(_SEED.tobytes()).hexdigest(), _SEED)
    trained = train_loss(JpegRestoration(), _RECIPE, [seed], RecordingRun())
    packed = trained.manifest, trained.discriminators
    folder = tmp_path_factory.mktemp("losses")
    content = write_artefact(*packed)
    blob = f"losses/{sha256(content).hexdigest()}.safetensors"
    Blobs(folder).put(blob, content)
    files = {
        "safetensors": content,
        "pth": export.state_dicts(*packed),
        "pt2": export.program(*packed),
    }
    return StoredLoss(MDFLoss(*packed), files, folder, blob)


@pytest.fixture(scope="session")
def photograph() -> bytes:
    """A PNG of 64×64 px."""
    small = transform.resize(data.astronaut()[:256, 128:384], (64, 64), anti_aliasing=True)
    return encode((small * 255).round().astype(np.uint8))


@pytest.fixture(scope="session")
def noisy(photograph: bytes) -> Callable[[float], bytes]:
    """The photograph with noise of a σ of 255."""

    def add(sigma: float) -> bytes:
        noise = np.random.default_rng(3).normal(0, sigma, (64, 64, 3))
        return encode((pixels(photograph) + noise).round().clip(0, 255).astype(np.uint8))

    return add
