"""A client for the REST service, with typed results.

    client = mdf.Client("http://127.0.0.1:8000")
    job = client.train("photo.jpg", task="jpeg", preset="quick")
    job = client.jobs.wait(job.id)
    client.losses.download(job.loss_id, "jpeg.safetensors")

    job = client.train_restorer("photos.zip", preset="quick-dncnn-jpeg", loss=job.loss_id)
    job = client.jobs.wait(job.id)
    restored = client.models.restore(job.model_id, "damaged.jpg")

Every method raises an `mdf.errors.MDFError`: ApiError when the server refuses,
UnreachableError when there is none.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mdf.client.datasets import Datasets
from mdf.client.evaluations import Evaluations
from mdf.client.ids import is_id
from mdf.client.images import Images
from mdf.client.jobs import Jobs
from mdf.client.keys import Keys
from mdf.client.losses import Losses
from mdf.client.models import Models
from mdf.client.pages import records
from mdf.client.records import (
    ApiKey,
    Artifact,
    BadFile,
    Candidate,
    Comparison,
    Dataset,
    DatasetImage,
    Deleted,
    Delivery,
    DifferenceMap,
    Estimate,
    Evaluation,
    Event,
    Gradient,
    Image,
    ImageScores,
    Job,
    JobError,
    Loss,
    LossFile,
    Me,
    Metric,
    Model,
    ModelFile,
    Page,
    PairedTest,
    Progress,
    Quotas,
    Sample,
    ScoredDataset,
    Scores,
    Term,
    Usage,
    Use,
    Webhook,
    Worker,
    Yardstick,
    parse,
)
from mdf.client.transport import Transport
from mdf.client.webhooks import Webhooks
from mdf.errors import MDFError

__all__ = [
    "DEFAULT_URL",
    "ApiKey",
    "Artifact",
    "BadFile",
    "Candidate",
    "Client",
    "Comparison",
    "Dataset",
    "DatasetImage",
    "Deleted",
    "Delivery",
    "DifferenceMap",
    "Estimate",
    "Evaluation",
    "Event",
    "Gradient",
    "Image",
    "ImageScores",
    "Job",
    "JobError",
    "Loss",
    "LossFile",
    "Me",
    "Metric",
    "Model",
    "ModelFile",
    "Page",
    "PairedTest",
    "Progress",
    "Quotas",
    "Sample",
    "ScoredDataset",
    "Scores",
    "Term",
    "Usage",
    "Use",
    "Webhook",
    "Worker",
    "Yardstick",
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
        self.datasets = Datasets(self._transport)
        self.jobs = Jobs(self._transport)
        self.losses = Losses(self._transport)
        self.models = Models(self._transport)
        self.evaluations = Evaluations(self._transport)
        self.keys = Keys(self._transport)
        self.webhooks = Webhooks(self._transport)

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
        job = self.loss_training(seed, task, preset=preset, recipe=recipe)
        return self._submit(job, name=name, priority=priority, deadline=deadline)

    def loss_training(
        self,
        seed: str | Path | bytes | Image | Sequence[str | Path | bytes | Image],
        task: str | Mapping[str, Any] = "jpeg",
        *,
        preset: str = "paper",
        recipe: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The job that `train` submits, for `jobs.estimate`; uploads what is not there yet."""
        return {
            "type": "discriminator_training",
            "seed_image_ids": [self._image_id(one) for one in _several(seed)],
            "task": _kind(task),
            "preset": preset,
            "recipe": dict(recipe or {}),
        }

    def train_restorer(
        self,
        dataset: str | Path | Dataset,
        *,
        preset: str,
        loss: str | Path | Loss | Mapping[str, Any] | None = None,
        task: str | Mapping[str, Any] | None = None,
        network: str | Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
        validation_dataset: str | Path | Dataset | None = None,
        validation_share: float | None = None,
        start_from: str | Model | None = None,
        name: str | None = None,
        priority: int | None = None,
        deadline: datetime | None = None,
    ) -> Job:
        """Start the training of a restoration network and return its job at once.

        What is not given is the preset's.

        Args:
            dataset: the pictures to train on: the id (`ds_…`) or record of a data set; or a
                folder or archive, which is uploaded, and whose import is waited for.
            preset: such as `quick-dncnn-jpeg` or `paper-edsr-sisr`.
            loss: what to train with: the id (`loss_…`) or record of an MDF loss, the path of a
                loss file, which is imported; or another loss by its kind, such as `l1` or
                `mix`, or whole, such as `{"kind": "charbonnier", "epsilon": 1e-3}`.
            task: what to undo: a kind, or the whole, such as `{"kind": "jpeg", "quality": 10}`.
            network: a kind, or the whole, such as `{"kind": "dncnn", "depth": 20}`.
            recipe: hyperparameters that differ from the preset's.
            validation_dataset: the pictures to validate on, as `dataset`.
            validation_share: without such, the share of `dataset` that is held out for it.
            start_from: the model whose weights to start from.
            name: what to call job and model.
            priority: higher runs earlier.
            deadline: a job that is not done by then fails, or expires if it has not started.
        """
        job = self.restorer_training(
            dataset,
            preset=preset,
            loss=loss,
            task=task,
            network=network,
            recipe=recipe,
            validation_dataset=validation_dataset,
            validation_share=validation_share,
            start_from=start_from,
        )
        return self._submit(job, name=name, priority=priority, deadline=deadline)

    def restorer_training(
        self,
        dataset: str | Path | Dataset,
        *,
        preset: str,
        loss: str | Path | Loss | Mapping[str, Any] | None = None,
        task: str | Mapping[str, Any] | None = None,
        network: str | Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
        validation_dataset: str | Path | Dataset | None = None,
        validation_share: float | None = None,
        start_from: str | Model | None = None,
    ) -> dict[str, Any]:
        """The job that `train_restorer` submits, for `jobs.estimate`; uploads as that does."""
        wanted = {
            "dataset_id": self._dataset_id(dataset),
            "validation_dataset_id": None
            if validation_dataset is None
            else self._dataset_id(validation_dataset),
            "validation_share": validation_share,
            "task": None if task is None else _kind(task),
            "network": None if network is None else _kind(network),
            "loss": None if loss is None else self._loss(loss),
            "start_from": start_from.id if isinstance(start_from, Model) else start_from,
        }
        return {
            "type": "restoration_training",
            "preset": preset,
            **{field: value for field, value in wanted.items() if value is not None},
            "recipe": dict(recipe or {}),
        }

    def restore(
        self,
        images: str | Path | bytes | Image | Sequence[str | Path | bytes | Image],
        model: str | Model,
        *,
        format: str = "png",
        quality: int | None = None,
        name: str | None = None,
        priority: int | None = None,
        deadline: datetime | None = None,
    ) -> Job:
        """Start a job that restores images and return it at once.

        Its artifact `restored` is the image, or a zip archive of all of several: see
        `Jobs.download_artifact`. A single small image comes faster by `Models.restore`.

        Args:
            images: what to restore, as the seeds of `train`, or the id of a data set (`ds_…`).
            model: the id or record of a model.
            format: of the restored images: `png`, `jpeg` or `webp`.
            quality: of JPEG and WebP, 1 to 100.
            name: what to call the job.
            priority: higher runs earlier.
            deadline: a job that is not done by then fails, or expires if it has not started.
        """
        job: dict[str, Any] = {
            "type": "restoration",
            "model_id": model.id if isinstance(model, Model) else model,
            "format": format,
        }
        if is_id(images, "ds"):
            job["dataset_id"] = images
        else:
            job["image_ids"] = [self._image_id(one) for one in _several(images)]
        if quality is not None:
            job["quality"] = quality
        return self._submit(job, name=name, priority=priority, deadline=deadline)

    def evaluate(
        self,
        models: str | Model | Sequence[str | Model],
        dataset: str | Path | Dataset,
        *,
        metrics: Sequence[str] | None = None,
        losses: Sequence[str | Loss] = (),
        task: str | Mapping[str, Any] | None = None,
        images: int | None = None,
        crop: int | None = None,
        random_seed: int | None = None,
        name: str | None = None,
        priority: int | None = None,
        deadline: datetime | None = None,
    ) -> Job:
        """Start a job that compares models by measurement and return it at once.

        What is not given is the server's to decide. The job's `evaluation_id` leads to the result:
        see `Evaluations`.

        Args:
            models: ids or records.
            dataset: the pictures to compare on, as in `train_restorer`.
            metrics: such as `psnr`, `ssim`, `ms_ssim` and `lpips`.
            losses: MDF losses to score by too, ids or records.
            task: what is done to the pictures: a kind, or the whole; else the models' own.
            images: at most so many of the pictures.
            crop: px; of larger pictures the centre is taken.
            random_seed: of the degradation.
            name: what to call job and evaluation.
            priority: higher runs earlier.
            deadline: a job that is not done by then fails, or expires if it has not started.
        """
        several = [models] if isinstance(models, str | Model) else models
        given = {
            "metrics": None if metrics is None else [*metrics],
            "task": None if task is None else _kind(task),
            "images": images,
            "crop": crop,
            "random_seed": random_seed,
        }
        job = {
            "type": "evaluation",
            "model_ids": [each.id if isinstance(each, Model) else each for each in several],
            "dataset_id": self._dataset_id(dataset),
            "loss_ids": [each.id if isinstance(each, Loss) else each for each in losses],
            **{field: value for field, value in given.items() if value is not None},
        }
        return self._submit(job, name=name, priority=priority, deadline=deadline)

    def workers(self) -> tuple[Worker, ...]:
        """The worker slots that have given a sign of life."""
        return records(Worker, self._transport.get("/v1/workers"))

    def me(self) -> Me:
        """Who the server takes this client for, and what that one may have and has."""
        return parse(Me, self._transport.get("/v1/me"))

    def usage(self, owner: str | None = None) -> Usage:
        """What an owner has: the client's own, or, for an admin, another one."""
        return parse(Usage, self._transport.get("/v1/usage", owner=owner))

    def all_usage(self) -> tuple[Usage, ...]:
        """What each owner has who has anything; needs the scope `admin`."""
        return records(Usage, self._transport.get("/v1/usage/all"))

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

    def _submit(
        self,
        job: dict[str, Any],
        *,
        name: str | None,
        priority: int | None,
        deadline: datetime | None,
    ) -> Job:
        given = {
            "name": name,
            "priority": priority,
            "deadline": None if deadline is None else deadline.isoformat(),
        }
        return self.jobs.submit(
            job | {field: value for field, value in given.items() if value is not None}
        )

    def _loss(self, loss: str | Path | Loss | Mapping[str, Any]) -> dict[str, Any]:
        """A loss as a job's spec has it."""
        if isinstance(loss, Mapping):
            return dict(loss)
        if isinstance(loss, Loss):
            return {"kind": "mdf", "loss_id": loss.id}
        if is_id(loss, "loss"):
            return {"kind": "mdf", "loss_id": loss}
        if isinstance(loss, str) and loss.isidentifier():
            return {"kind": loss}
        return {"kind": "mdf", "loss_id": self.losses.import_file(loss).id}

    def _dataset_id(self, dataset: str | Path | Dataset) -> str:
        """The id of a data set that is ready, or may become so."""
        if isinstance(dataset, Dataset):
            return dataset.id
        if is_id(dataset, "ds"):
            return dataset
        imported = self.datasets.wait(self.datasets.upload(dataset).id)
        if imported.state == "failed":
            raise MDFError(f"{dataset} did not become a data set: {imported.error}")
        return imported.id

    def _image_id(self, seed: str | Path | bytes | Image) -> str:
        if isinstance(seed, Image):
            return seed.id
        if is_id(seed, "img"):
            return seed
        return self.images.upload(seed).id


def _several(
    images: str | Path | bytes | Image | Sequence[str | Path | bytes | Image],
) -> list[str | Path | bytes | Image]:
    return [images] if isinstance(images, str | Path | bytes | Image) else [*images]


def _kind(thing: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": thing} if isinstance(thing, str) else dict(thing)
