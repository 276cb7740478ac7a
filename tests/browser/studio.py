"""`mdf serve` in a folder and on a port of its own, and small real things made on it."""

import io
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from skimage import data

import mdf
from mdf.client import Dataset, Job
from services import keys
from services.access import Scope
from services.embedded.stack import Stack
from services.installation import Installation
from services.settings import Settings

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PHOTO = np.ascontiguousarray(data.astronaut()[32:128, 160:288])
PHOTOS = {
    "astronaut.png": data.astronaut()[72:168, 180:276],
    "chelsea.png": data.chelsea()[60:156, 120:216],
    "coffee.png": data.coffee()[100:196, 200:296],
    "rocket.png": data.rocket()[200:296, 300:396],
}
# Two scales of a few steps: a second or two, once the process is up.
TINY = {"scales": 2, "iterations": 4, "width": 4, "max_size": 48}
TINY_RESTORER = {"iterations": 12, "patch": 16, "batch": 2, "validate_every": 6}


def png(pixels: np.ndarray = PHOTO) -> bytes:
    """The pixels as a file."""
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(content, "PNG")
    return content.getvalue()


class Studio:
    """A service that runs."""

    def __init__(self, stack: Stack, settings: Settings) -> None:
        self.url = stack.url
        self.settings = settings
        self.installation = Installation.open(settings)
        self.client = mdf.Client(self.url, timeout=90)

    def upload(self, pixels: np.ndarray = PHOTO, *, name: str = "astronaut.png") -> str:
        """The id of an image on the server."""
        return self.client.images.upload(png(pixels), name=name).id

    def train(self, *, name: str = "astronaut", task: str = "jpeg", **recipe: object) -> Job:
        """A training, begun: a tiny one, but for what `recipe` changes."""
        return self.client.train(
            self.upload(), task, preset="quick", recipe={**TINY, **recipe}, name=name
        )

    def trained(self) -> Job:
        """A training that has succeeded; always the same one."""
        return self._trained

    def dataset(self) -> Dataset:
        """A data set of four photographs; always the same one."""
        return self._dataset

    def restorer(self) -> Job:
        """A training of a denoiser that has succeeded; always the same one."""
        return self._restorer

    def evaluation(self) -> Job:
        """A comparison that has succeeded; always the same one."""
        return self._evaluation

    @cached_property
    def _trained(self) -> Job:
        return self.wait(self.train())

    @cached_property
    def _dataset(self) -> Dataset:
        with tempfile.TemporaryDirectory() as folder:
            for name, pixels in PHOTOS.items():
                Path(folder, name).write_bytes(png(pixels))
            uploaded = self.client.datasets.upload(folder, name="photographs")
        return self.client.datasets.wait(uploaded.id)

    @cached_property
    def _restorer(self) -> Job:
        return self.wait(
            self.client.train_restorer(
                self.dataset(),
                preset="quick-dncnn-denoising",
                network={"kind": "dncnn", "depth": 3, "width": 4},
                recipe=TINY_RESTORER,
                validation_share=0.25,
                name="denoiser",
            )
        )

    @cached_property
    def _evaluation(self) -> Job:
        model_id = self.restorer().model_id
        assert model_id is not None
        return self.wait(
            self.client.evaluate(
                model_id, self.dataset(), metrics=["psnr", "ssim"], name="denoisers"
            )
        )

    def wait(self, job: Job) -> Job:
        """The job once it has succeeded."""
        ended = self.client.jobs.wait(job.id, timeout=300)
        assert ended.state == "succeeded", ended.error
        return ended

    def make_key(self, owner: str, *scopes: Scope, **quotas: int) -> str:
        """The token of a new key; from the first one on, which is an admin's, all need one."""
        with self.installation.database.write() as session:
            _, token = keys.create(
                session, name=f"{owner}'s", owner=owner, scopes=scopes, quotas=quotas
            )
        return token

    def revoke(self, *owners: str) -> None:
        """Revoke the keys of these owners."""
        with self.installation.database.write() as session:
            mine = [key for key in keys.list_keys(session).items if key.owner in owners]
            for key in sorted(mine, key=lambda key: "admin" in key.scopes):
                keys.revoke(session, key.id)

    def forget_keys(self) -> None:
        """Revoke all keys: from then on nobody needs one."""
        with self.installation.database.read() as session:
            owners = {key.owner for key in keys.list_keys(session).items}
        self.revoke(*owners)

    def kill_api(self) -> None:
        """End the API's process without a warning; `mdf serve` starts it again."""
        port = int(self.url.rpartition(":")[2])
        (api,) = (
            process
            for process in psutil.Process().children()
            if process.status() != psutil.STATUS_ZOMBIE
            and any(each.laddr.port == port for each in process.net_connections("tcp"))
        )
        api.kill()


@contextmanager
def running(home: Path, *, disk_floor_bytes: int = 0) -> Iterator[Studio]:
    """A service without keys, whose files are in `home`; ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(
        home=home,
        port=port,
        disk_floor_bytes=disk_floor_bytes,
        checkpoint_seconds=0.2,
        redispatch_seconds=2,
        webhook_networks="127.0.0.0/8",
        threads=1,
    )
    with Stack(settings) as stack:
        studio = Studio(stack, settings)
        yield studio
        studio.client.close()
        studio.installation.close()
