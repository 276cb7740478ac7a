"""`mdf train --local`: the same training in this process, with its checkpoint in a folder."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from mdf.client import Progress
from mdf.commands.checkout import server_code
from mdf.commands.display import Display, open_display
from mdf.commands.faults import INTERRUPTED, CommandError
from mdf.commands.terminal import note

if TYPE_CHECKING:
    from services.local import LocalProgress, LocalRun
    from services.phase1.recipe import DiscriminatorTraining
    from services.phase1.training import Seed


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
    # Before torch is loaded: OpenMP's threads shall wait for each other asleep, not spinning.
    # Beside other busy processes training is several times as fast, else as fast as before.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    with server_code():
        from services.local import LocalRun
        from services.phase1.job import run_discriminator_training
        from services.phase1.recipe import check_seed_size
        from services.run import Paused

        seeds = [_read_seed(image) for image in images]
        spec = _validate(seeds, task=task, preset=preset, recipe=recipe)
        sizes = [seed.pixels.shape[1::-1] for seed in seeds]
        for width, height in sizes:
            check_seed_size(spec.resolved_recipe(), width, height)
        checkpoint_folder = folder / f".{stem}-{_identity(spec)}.training"
        with open_display() as display:
            display.say("starting")
            run = LocalRun(checkpoint_folder, on_progress=_reporter(display, spec, sizes))
            try:
                with _pause_on_interrupt(run):
                    package = run_discriminator_training(spec, seeds, run)
            except Paused:
                note("Stopped at a checkpoint. The same command goes on from there.")
                raise typer.Exit(INTERRUPTED) from None
    files = {f"{stem}.{file_format}": content for file_format, content in package.files.items()}
    paths = []
    for name, content in {**files, f"{stem}-contact-sheet.png": package.contact_sheet}.items():
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    shutil.rmtree(checkpoint_folder)
    return paths


def _read_seed(path: Path) -> "Seed":
    """Decode an image file as the service decodes an upload."""
    from services.errors import ServiceError
    from services.images import catalogue
    from services.images.decoding import Limits, decode
    from services.phase1.training import Seed
    from services.settings import load_settings

    try:
        image = decode(path.read_bytes(), Limits.of(load_settings()))
    except ServiceError as error:
        raise CommandError(f"{path}: {error.message}") from error
    return Seed(image.digest, catalogue.pixels(image.png))


def _validate(
    seeds: Sequence["Seed"], *, task: dict[str, Any], preset: str, recipe: dict[str, Any]
) -> "DiscriminatorTraining":
    from pydantic import ValidationError

    from services.phase1.recipe import DiscriminatorTraining

    job = {
        "seed_image_ids": [seed.digest for seed in seeds],
        "task": task,
        "preset": preset,
        "recipe": recipe,
    }
    try:
        return DiscriminatorTraining.model_validate(job)
    except ValidationError as error:
        faults = "; ".join(
            f"{_place(fault['loc'], job)}: {fault['msg']}" for fault in error.errors()
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


def _identity(spec: "DiscriminatorTraining") -> str:
    """A short name for exactly this training."""
    parts = spec.model_dump(mode="json") | {"recipe": spec.resolved_recipe().model_dump()}
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _reporter(
    display: Display, spec: "DiscriminatorTraining", sizes: Sequence[tuple[int, int]]
) -> Callable[["LocalProgress"], None]:
    from services.jobs.execution import iteration_costs
    from services.jobs.progress import Progress as Estimate

    estimate = Estimate()
    estimate.plan(iteration_costs(spec.resolved_recipe(), sizes))

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
