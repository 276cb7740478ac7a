"""`mdf train --local`: the same training in this process, with its checkpoint in a folder.

Training of restorers shares the parts without an underscore: see `local_restoration`.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from mdf.client import Progress
from mdf.commands.checkout import server_code
from mdf.commands.display import Display, open_display
from mdf.commands.faults import INTERRUPTED, CommandError
from mdf.commands.terminal import note

if TYPE_CHECKING:
    from pydantic import BaseModel

    from services.jobs.progress import Progress as Estimate
    from services.local import LocalProgress, LocalRun
    from services.phase1.recipe import DiscriminatorTraining
    from services.phase1.training import Seed

    Spec = TypeVar("Spec", bound=BaseModel)


def train_here(
    images: list[Path],
    *,
    task: dict[str, Any],
    preset: str,
    recipe: dict[str, Any],
    folder: Path,
    stem: str,
) -> list[Path]:
    """Train; save the loss in its three forms and the contact sheet in `folder`; say where.

    A training that was stopped goes on when it is asked for again with the same folder.
    """
    let_threads_sleep()
    with server_code():
        from services.phase1.job import run_discriminator_training
        from services.phase1.recipe import check_seed_size

        seeds = [_read_seed(image) for image in images]
        spec = _spec(seeds, task=task, preset=preset, recipe=recipe)
        sizes = [seed.pixels.shape[1::-1] for seed in seeds]
        for width, height in sizes:
            check_seed_size(spec.resolved_recipe(), width, height)
        identity = spec.model_dump(mode="json") | {"recipe": spec.resolved_recipe().model_dump()}
        checkpoints = checkpoint_folder(folder, stem, identity)
        with local_run(checkpoints, _estimate(spec, sizes)) as run:
            package = run_discriminator_training(spec, seeds, run)
    return save_results(folder, stem, package.files, package.contact_sheet, checkpoints)


def let_threads_sleep() -> None:
    """Before torch is loaded: OpenMP's threads shall wait for each other asleep, not spinning.

    Beside other busy processes training is several times as fast, else as fast as before.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def checkpoint_folder(folder: Path, stem: str, identity: Any) -> Path:
    """Where exactly this training, and no other, keeps its checkpoint."""
    digest = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return folder / f".{stem}-{digest[:12]}.training"


@contextmanager
def local_run(checkpoints: Path, estimate: "Estimate") -> "Iterator[LocalRun]":
    """A run that shows its progress, and that Ctrl-C stops at a checkpoint."""
    from services.local import LocalRun
    from services.run import Paused

    with open_display() as display:
        display.say("starting")
        run = LocalRun(checkpoints, on_progress=_reporter(display, estimate))
        try:
            with _pause_on_interrupt(run):
                yield run
        except Paused:
            note("Stopped at a checkpoint. The same command goes on from there.")
            raise typer.Exit(INTERRUPTED) from None


def save_results(
    folder: Path,
    stem: str,
    files: Mapping[Any, bytes],
    contact_sheet: bytes,
    checkpoints: Path,
) -> list[Path]:
    """Write what a training made, by format, into `folder`; its checkpoint is done with."""
    named = {f"{stem}.{file_format}": content for file_format, content in files.items()}
    paths = []
    for name, content in {**named, f"{stem}-contact-sheet.png": contact_sheet}.items():
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    shutil.rmtree(checkpoints)
    return paths


def _read_seed(path: Path) -> "Seed":
    """Decode an image file as the service decodes an upload."""
    from services.errors import ServiceError
    from services.images import catalogue
    from services.images.decoding import Limits, decode
    from services.phase1.training import Seed
    from services.settings import load_settings

    try:
        image = decode(path.read_bytes(), Limits.of(load_settings()), keep_alpha=True)
    except ServiceError as error:
        raise CommandError(f"{path}: {error.message}") from error
    return Seed(image.digest, catalogue.pixels(image.png))


def _spec(
    seeds: Sequence["Seed"], *, task: dict[str, Any], preset: str, recipe: dict[str, Any]
) -> "DiscriminatorTraining":
    from services.phase1.recipe import DiscriminatorTraining

    job = {
        "seed_image_ids": [seed.digest for seed in seeds],
        "task": task,
        "preset": preset,
        "recipe": recipe,
    }
    return validated(DiscriminatorTraining, job)


def validated(spec: "type[Spec]", job: dict[str, Any]) -> "Spec":
    """The spec of a job as the service would take it; CommandError names what is wrong."""
    from pydantic import ValidationError

    try:
        return spec.model_validate(job)
    except ValidationError as error:
        faults = "; ".join(
            f"{place}: {fault['msg']}" if (place := _place(fault["loc"], job)) else fault["msg"]
            for fault in error.errors()
        )
        raise CommandError(faults) from error


def _place(location: tuple[int | str, ...], content: Any) -> str:
    """`task.quality` for a fault's location, which also holds names of union members."""
    names = []
    for part in location:
        if isinstance(content, dict):
            known, content = part in content, content.get(part, content)
        else:
            known = isinstance(content, list) and isinstance(part, int)
            content = content[part] if known else content
        if known or part == location[-1]:
            names.append(str(part))
    return ".".join(names)


def _estimate(spec: "DiscriminatorTraining", sizes: Sequence[tuple[int, int]]) -> "Estimate":
    from services.jobs.execution import iteration_costs
    from services.jobs.progress import Progress as Estimate

    estimate = Estimate()
    estimate.plan(iteration_costs(spec.resolved_recipe(), sizes))
    return estimate


def _reporter(display: Display, estimate: "Estimate") -> Callable[["LocalProgress"], None]:
    def report(progress: "LocalProgress") -> None:
        place = asdict(progress)
        metrics = place.pop("metrics")
        display.update(Progress(**estimate.at(**place), metrics=metrics))

    return report


@contextmanager
def _pause_on_interrupt(run: "LocalRun") -> Iterator[None]:
    """Ctrl-C asks for a checkpoint and a stop; a second one does not wait for it."""
    from services.run import Signal

    def ask(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        note("Saving a checkpoint …")
        run.ask(Signal.PAUSE)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
