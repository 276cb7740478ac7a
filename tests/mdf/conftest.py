"""Losses and photographs for the library's tests; a running service for those of the client."""

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import skimage.data
import torch
from torch import Tensor

from mdf.artefact import Manifest
from mdf.client import Client, Job
from mdf.discriminator import Discriminator, initialise

# Seconds instead of minutes; the same path through the code.
TINY = {"scales": 2, "max_size": 48, "width": 4, "iterations": 8}


@dataclass(frozen=True)
class Service:
    """The embedded stack in a folder of its own."""

    url: str
    home: Path

    def api_process(self) -> psutil.Process:
        """The API's process."""
        port = int(self.url.rpartition(":")[2])
        for process in psutil.Process().children(recursive=True):
            if process.cmdline()[-2:] == ["-m", "api"] and _listens(process, port):
                return process
        raise AssertionError("no API runs")


def _listens(process: psutil.Process, port: int) -> bool:
    return any(each.laddr.port == port for each in process.net_connections("tcp"))


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    from services.embedded.stack import Stack
    from services.settings import Settings

    home = tmp_path_factory.mktemp("service")
    settings = Settings(
        home=home, port=free_port(), checkpoint_seconds=1, webhook_networks="127.0.0.0/8"
    )
    with Stack(settings) as stack:
        yield Service(stack.url, home)


@pytest.fixture(scope="session")
def seed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph, small enough to be quick."""
    import skimage.data
    from PIL import Image

    path = tmp_path_factory.mktemp("seed") / "cat.png"
    Image.fromarray(skimage.data.chelsea()[:128, 100:260]).save(path)
    return path


@pytest.fixture(scope="session")
def tiny() -> dict[str, int]:
    return dict(TINY)


@pytest.fixture(scope="session")
def trained(service: Service, seed_file: Path) -> Job:
    """A job that has succeeded."""
    with Client(service.url) as client:
        job = client.train(seed_file, "jpeg", preset="quick", recipe=TINY, name="cat-jpeg")
        return client.jobs.wait(job.id, timeout=180)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four small photographs."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos") / "photos"
    folder.mkdir()
    for number, column in enumerate(range(0, 400, 100)):
        pixels = skimage.data.coffee()[100:180, column : column + 96]
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def tiny_restorer() -> dict[str, Any]:
    """A network and a recipe of seconds for `quick-dncnn-jpeg`."""
    return {
        "network": {"kind": "dncnn", "depth": 3, "width": 4, "batch_norm": False},
        "recipe": {"iterations": 6, "patch": 24, "batch": 2, "validate_every": 3},
    }


@pytest.fixture(scope="session")
def restorer(service: Service, photos: Path, tiny_restorer: dict[str, Any]) -> Job:
    """A restorer's training that has succeeded."""
    with Client(service.url) as client:
        job = client.train_restorer(
            photos, preset="quick-dncnn-jpeg", loss="l1", name="photos-l1", **tiny_restorer
        )
        return client.jobs.wait(job.id, timeout=180)


PUBLISHED = Path(__file__).parents[3] / "shared" / "peers" / "mdf" / "Ds_JPEG.pth"

BuildLoss = Callable[..., tuple[Manifest, list[Discriminator]]]


@pytest.fixture(scope="session")
def published() -> bytes:
    """The weights for JPEG that the authors of the loss published."""
    if not PUBLISHED.exists():
        pytest.skip(f"the published weights are not at {os.path.relpath(PUBLISHED)}")
    return PUBLISHED.read_bytes()


@pytest.fixture(scope="session")
def astronaut() -> Tensor:
    """A part of a photograph, (1, 3, 128, 160), float32 in [0, 1]."""
    pixels = torch.from_numpy(skimage.data.astronaut()[:128, 160:320].copy())
    return pixels.permute(2, 0, 1)[None].float().div(255).contiguous()


@pytest.fixture(scope="session")
def build_loss() -> BuildLoss:
    """Builds discriminators with lively weights and statistics, and their manifest."""

    def build(
        widths: tuple[int, ...] = (4, 6), *, seed: int = 0, **fields: object
    ) -> tuple[Manifest, list[Discriminator]]:
        manifest = Manifest(
            origin="trained",
            widths=widths,
            iterations=tuple(10 * (k + 1) for k in range(len(widths))),
            task={"kind": "jpeg", "quality": [7, 10]},
            recipe={"lr": 5e-4},
            seeds=("ab" * 32,),
            random_seed=seed,
            software={"torch": "2"},
            **fields,
        )
        generator = torch.Generator().manual_seed(seed)
        discriminators = []
        for width in widths:
            discriminator = Discriminator(
                width=width, layers=manifest.layers, padding=manifest.padding
            )
            initialise(discriminator, generator)
            for parameter in discriminator.parameters():  # so that each of them matters
                parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
            discriminator(torch.rand(4, 3, 40, 40, generator=generator) * 2 - 1)
            discriminators.append(discriminator.eval())
        return manifest, discriminators

    return build
