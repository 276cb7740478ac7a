"""A job of type `evaluation`: models measured on the same degraded images.

The values of each image are a part of their own, whole or not there: a job that is killed, paused
or retried goes on with the next one. All values together are the artifact `evaluation`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sqlalchemy.orm import Session
from torch import Tensor

from mdf.artefact import read_artefact
from mdf.loss import MDFLoss
from models.restorers import Restorer
from services.database.schema import Dataset, Job, Loss, Model
from services.datasets import catalogue as datasets
from services.datasets.picture import Picture
from services.errors import ServiceError
from services.evaluation import catalogue
from services.evaluation.catalogue import ARTIFACT, REFERENCE, picture_kind
from services.evaluation.measuring import Degradations, Meter, results
from services.evaluation.report import (
    FORMAT,
    Candidate,
    Material,
    Yardstick,
    degraded,
    summarise_all,
)
from services.evaluation.selection import Selection, common_multiple, select, smallest_side
from services.evaluation.spec import SMALLEST_SIDES, Evaluation
from services.installation import Installation
from services.jobs import artifacts
from services.jobs.parts import Parts
from services.jobs.run import JobRun, Publish
from services.losses import catalogue as losses
from services.phase1.history import png
from services.phase2 import perceptual
from services.phase2.validation import as_pixels
from services.restorers import catalogue as models
from services.restorers.artefact import read_restorer
from services.restorers.networks import NETWORK
from services.run import Run, Signal, heed

SHOWN = 12  # images of which pictures are kept
SHOWN_SIDE = 512  # px of them, from the centre


@dataclass(frozen=True)
class _Ingredients:
    """What the spec of a job names."""

    selection: Selection
    material: Material
    candidates: Sequence[Candidate]  # the degraded image first
    degradations: Degradations
    restorers: Mapping[str, Restorer]
    losses: Mapping[str, MDFLoss]
    loss_names: Mapping[str, str]


def evaluate_models_job(installation: Installation, job: Job, run: JobRun) -> Publish:
    """Compare the models that the job's spec names, and store what came of it."""
    spec, blobs = Evaluation.model_validate(job.spec), installation.blobs
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    lpips = None
    if "lpips" in spec.metrics:  # refused before anything is measured
        folder = installation.settings.perceptual_weights
        lpips = perceptual.lpips("alex", folder).to(device).metric()
    given = _gather(installation, spec)
    for model_id in given.selection.trained_on:
        run.log(f"model {model_id} was trained on these images: its figures flatter it")
    meter = Meter(spec.metrics, given.losses, lpips=lpips, device=device)
    restorers = {model_id: each.to(device) for model_id, each in given.restorers.items()}
    measuring = _Measuring(given.degradations, restorers, meter, run)
    parts = Parts(blobs, job.id, run.log)
    _measure_images(parts, given.selection, measuring)

    images = [json.loads(parts.get(position)) for position in range(given.material.images)]
    yardsticks = [
        Yardstick(each.name, each.label, each.unit, each.higher_is_better) for each in meter.facts()
    ]
    yardsticks += [
        Yardstick(loss_id, f"MDF {given.loss_names[loss_id]}".strip(), "", higher_is_better=False)
        for loss_id in spec.loss_ids
    ]
    summary = summarise_all(spec, given.material, given.candidates, yardsticks, images)
    report = json.dumps({"format": FORMAT, **summary, "images": images}, allow_nan=False)
    file = blobs.put(artifacts.blob_key(job, ARTIFACT), report.encode())

    def publish(session: Session, job: Job) -> None:
        catalogue.add(session, job=job, summary=summary)
        artifacts.publish(session, job, kind=ARTIFACT, media_type="application/json", file=file)

    return publish


@dataclass(frozen=True)
class _Measuring:
    """How an image is measured."""

    degradations: Degradations
    restorers: Mapping[str, Restorer]
    meter: Meter
    run: Run

    def measure(self, place: int, picture: Picture) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What is said of the picture at `place` of its data set, and what it looks like."""
        image = self.degradations.degrade(picture.read(), place)
        made: dict[str, Tensor] = {}
        values: dict[str, dict[str, float]] = {}
        for candidate, restored in results(image, self.restorers, on_tile=self._heed):
            made[candidate] = restored
            values[candidate] = self.meter.score(restored, image.target)
            heed(self.run.poll())
        height, width = image.target.shape[-2:]
        facts = {"name": picture.name, "digest": picture.digest, "width": width, "height": height}
        return {**facts, "values": values}, {**made, REFERENCE: image.target}

    def show(self, position: int, pictures: Mapping[str, Tensor]) -> None:
        """Keep the middle of the pictures, pixel by pixel, as samples of the job."""
        for number, (shown, image) in enumerate(pictures.items()):
            pixels = as_pixels(image)
            top, left = (max(0, side - SHOWN_SIDE) // 2 for side in pixels.shape[:2])
            middle = pixels[top : top + SHOWN_SIDE, left : left + SHOWN_SIDE]
            content = png(np.ascontiguousarray(middle))
            kind = picture_kind(shown, number)
            self.run.sample(scale=1, step=position + 1, kind=kind, png=content)

    def _heed(self, _done: int, _total: int) -> None:
        heed(self.run.poll())


def _measure_images(parts: Parts, selection: Selection, measuring: _Measuring) -> None:
    """Make the parts of the job that are not there yet, and the pictures of some images."""
    run, count = measuring.run, len(selection.pictures)
    shown = set(np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int).tolist())
    for position, (place, picture) in enumerate(selection.pictures):
        there = parts.has(position)
        if not there:
            try:
                said, pictures = measuring.measure(place, picture)
            except ServiceError as error:
                raise type(error)(f"{picture.name}: {error.message}") from None
            if position in shown:
                measuring.show(position, pictures)
            part = {"position": position, "dataset_position": place, **said}
            parts.put(position, json.dumps(part, allow_nan=False).encode())
        run.progress(scale=1, scales=1, step=position + 1, steps=count)
        signal = run.poll()
        heed(signal)
        if signal is Signal.CHECKPOINT and not there:
            run.save_checkpoint(b"")  # the parts are all that it needs: this says that it gets on


def _gather(installation: Installation, spec: Evaluation) -> _Ingredients:
    blobs = installation.blobs
    with installation.database.read() as session:
        dataset = session.get_one(Dataset, spec.dataset_id)
        pictures = datasets.pictures(session, blobs, dataset.id)
        rows = [session.get_one(Model, model_id) for model_id in spec.model_ids]
        files = {row.id: models.file(session, row.id, "safetensors") for row in rows}
        loss_rows = [session.get_one(Loss, loss_id) for loss_id in spec.loss_ids]
        loss_files = {row.id: losses.file(session, row.id, "safetensors") for row in loss_rows}
    task = spec.settled_task
    networks = [NETWORK.validate_python(row.manifest["network"]) for row in rows]
    sides = [SMALLEST_SIDES[name] for name in spec.metrics]
    sides += [losses.smallest_side(row) for row in loss_rows]
    chosen = select(
        pictures,
        {row.id: row.manifest for row in rows},
        smallest=smallest_side(sides, common_multiple(task, networks)),
        most=spec.images,
    )
    return _Ingredients(
        selection=chosen,
        material=Material(
            dataset.id, dataset.name, dataset.digest, len(chosen.pictures), chosen.held_out
        ),
        candidates=[
            degraded(),
            *(_candidate(row, trained_on_these=row.id in chosen.trained_on) for row in rows),
        ],
        degradations=Degradations(task, networks, crop=spec.crop, random_seed=spec.random_seed),
        restorers={
            model_id: read_restorer(models.read(blobs, model_id, file))[1]
            for model_id, file in files.items()
        },
        losses={
            loss_id: MDFLoss(*read_artefact(losses.read(blobs, loss_id, file)))
            for loss_id, file in loss_files.items()
        },
        loss_names={row.id: row.name for row in loss_rows},
    )


def _candidate(row: Model, *, trained_on_these: bool) -> Candidate:
    return Candidate(
        id=row.id,
        name=row.name,
        network=row.manifest["network"],
        loss=row.manifest["loss"] or None,
        sha256=row.sha256,
        trained_on_these=trained_on_these,
    )
