"""A client for the REST service, with typed results.

    client = mdf.Client("http://127.0.0.1:8000")
    job = client.train("photo.jpg", task="jpeg", preset="quick")
    job = client.jobs.wait(job.id)
    client.losses.download(job.loss_id, "jpeg.safetensors")

Every method raises an `mdf.errors.MDFError`: ApiError when the server refuses,
UnreachableError when there is none.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mdf.client.images import Images
from mdf.client.jobs import Jobs
from mdf.client.keys import Keys
from mdf.client.losses import Losses
from mdf.client.pages import records
from mdf.client.records import (
    ApiKey,
    Artifact,
    Comparison,
    DifferenceMap,
    Event,
    Image,
    Job,
    JobError,
    Loss,
    LossFile,
    Me,
    Metric,
    Page,
    Progress,
    Sample,
    Term,
    Worker,
    parse,
)
from mdf.client.transport import Transport

__all__ = [
    "DEFAULT_URL",
    "ApiKey",
    "Artifact",
    "Client",
    "Comparison",
    "DifferenceMap",
    "Event",
    "Image",
    "Job",
    "JobError",
    "Loss",
    "LossFile",
    "Me",
    "Metric",
    "Page",
    "Progress",
    "Sample",
    "Term",
    "Worker",
]

DEFAULT_URL = "http://127.0.0.1:8000"


class Client:
    """One MDF server.

    Args:
        url: its address; default: the environment's MDF_URL, else http://127.0.0.1:8000.
        api_key: the bearer token; default: the environment's MDF_API_KEY, else none.
        timeout: seconds that one answer may take.
        retries: how often a request is sent again that failed on its way or met a busy
            server, where a repeat does no harm.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 4,
    ) -> None:
        self._transport = Transport(
            url or os.environ.get("MDF_URL") or DEFAULT_URL,
            api_key or os.environ.get("MDF_API_KEY") or None,
            timeout=timeout,
            retries=retries,
        )
        self.images = Images(self._transport)
        self.jobs = Jobs(self._transport)
        self.losses = Losses(self._transport)
        self.keys = Keys(self._transport)

    @property
    def url(self) -> str:
        """The server's address."""
        return self._transport.url

    def train(
        self,
        seed: str | Path | bytes | Image | Sequence[str | Path | bytes | Image],
        task: str | Mapping[str, Any] = "jpeg",
        *,
        preset: str = "paper",
        recipe: Mapping[str, Any] | None = None,
        name: str | None = None,
        priority: int | None = None,
        deadline: datetime | None = None,
    ) -> Job:
        """Start the training of a loss and return its job at once.

        Args:
            seed: the image, or several: a path or the bytes of a file, which are uploaded,
                or the id (`img_…`) or record of an image on the server.
            task: `jpeg`, `denoising` or `sisr`, or the whole task, such as
                `{"kind": "jpeg", "quality": [7, 10]}`.
            preset: `paper`, `published` or `quick`.
            recipe: hyperparameters that differ from the preset.
            name: what to call job and loss.
            priority: higher runs earlier.
            deadline: a job that is not done by then fails, or expires if it has not started.
        """
        seeds = [seed] if isinstance(seed, str | Path | bytes | Image) else [*seed]
        job: dict[str, Any] = {
            "type": "discriminator_training",
            "seed_image_ids": [self._image_id(one) for one in seeds],
            "task": {"kind": task} if isinstance(task, str) else dict(task),
            "preset": preset,
            "recipe": dict(recipe or {}),
        }
        if name is not None:
            job["name"] = name
        if priority is not None:
            job["priority"] = priority
        if deadline is not None:
            job["deadline"] = deadline.isoformat()
        return self.jobs.submit(job)

    def workers(self) -> tuple[Worker, ...]:
        """The worker slots that have given a sign of life."""
        return records(Worker, self._transport.get("/v1/workers"))

    def me(self) -> Me:
        """Who the server takes this client for."""
        return parse(Me, self._transport.get("/v1/me"))

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _image_id(self, seed: str | Path | bytes | Image) -> str:
        if isinstance(seed, Image):
            return seed.id
        if isinstance(seed, str) and seed.startswith("img_"):
            return seed
        return self.images.upload(seed).id
