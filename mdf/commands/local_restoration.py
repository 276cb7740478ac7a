"""`mdf restore-train --local` and `mdf restore --local`: the same in this process."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mdf.client.ids import is_id
from mdf.commands.checkout import server_code
from mdf.commands.faults import CommandError
from mdf.commands.local import (
    checkpoint_folder,
    let_threads_sleep,
    local_run,
    save_results,
    validated,
)
from mdf.commands.objective import check_loss_file, resolve_losses
from mdf.commands.terminal import note

if TYPE_CHECKING:
    from mdf.loss import MDFLoss
    from models.restorers import Restorer
    from services.restoration.spec import PictureFormat

_HERE = "the folder"  # stands for the id of a data set in specs that never reach a server


def train_restorer_here(
    source: Path,
    *,
    validation: Path | None,
    start_from: Path | None,
    preset: str,
    parts: Mapping[str, Any],
    recipe: dict[str, Any],
    folder: Path,
    stem: str,
) -> list[Path]:
    """Train; save the model in its three forms and the contact sheet in `folder`; say where.

    A training that was stopped goes on when it is asked for again with the same folder.

    Args:
        source: folder with the images to train on.
        validation: folder with those to validate on; else some of `source` are held out.
        start_from: file of the model to start from.
        preset: what to start from.
        parts: task, network and loss that replace the preset's, and the share that is held out;
            an MDF loss names its file.
        recipe: hyperparameters that differ.
        folder: where the results go.
        stem: how their names begin.
    """
    let_threads_sleep()
    with server_code():
        from services.datasets.picture import pictures_of_folder
        from services.images.decoding import Limits
        from services.jobs.progress import Progress as Estimate
        from services.phase2.contact_sheet import draw_contact_sheet
        from services.phase2.holdout import split
        from services.phase2.job import describe
        from services.phase2.recipe import RestorationTraining
        from services.phase2.training import train_restorer
        from services.restorers.packing import pack
        from services.settings import load_settings

        losses: dict[str, MDFLoss] = {}
        job = {"dataset_id": _HERE, "preset": preset, **parts, "recipe": recipe}
        if "loss" in job:
            job["loss"] = resolve_losses(job["loss"], lambda name: _load_loss(name, losses))
        spec = validated(RestorationTraining, job)
        plan = spec.resolved()
        initial = None if start_from is None else _read_model(start_from)
        limits = Limits.of(load_settings())
        pictures = pictures_of_folder(source, limits)
        if validation is None:
            pictures, held_out = split(pictures, spec.validation_share)
        else:
            held_out = pictures_of_folder(validation, limits)
        identity = {
            "plan": plan.model_dump(mode="json"),
            "pictures": [picture.digest for picture in pictures],
            "validation": [picture.digest for picture in held_out],
        }
        checkpoints = checkpoint_folder(folder, stem, identity)
        with local_run(checkpoints, Estimate()) as run:
            trained = train_restorer(plan, pictures, held_out, losses, run, initial=initial)
        note("Packing the model …")
        sheet = draw_contact_sheet(
            trained.history, title=describe(plan, trained.manifest.iterations)
        )
        files = pack(trained.manifest, trained.network)
    return save_results(folder, stem, files, sheet, checkpoints)


def restore_here(
    images: Sequence[Path],
    model: Path,
    targets: Sequence[Path],
    *,
    file_format: str,
    quality: int | None,
) -> None:
    """Restore image files one after the other, each into its target."""
    with server_code():
        from services.errors import ServiceError
        from services.restoration.picture import restore_picture

        restorer = _read_model(model)
        for image, target in zip(images, targets, strict=True):
            try:
                restored = restore_picture(
                    restorer,
                    image.read_bytes(),
                    format=cast("PictureFormat", file_format),
                    quality=quality,
                )
            except ServiceError as error:
                raise CommandError(f"{image}: {error.message}") from error
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(restored.content)


def _read_model(file: Path) -> "Restorer":
    from services.errors import ServiceError
    from services.restorers.artefact import read_restorer

    try:
        return read_restorer(file.read_bytes())[1]
    except ServiceError as error:
        raise CommandError(f"{file}: {error.message}") from error


def _load_loss(name: str, losses: dict[str, "MDFLoss"]) -> dict[str, str]:
    """Load a loss's file into `losses`; the id that it has there, and its digest."""
    import mdf

    if is_id(name, "loss"):
        raise CommandError(f"a local training reads losses of files; {name} is a server's")
    file = check_loss_file(name)
    content = file.read_bytes()
    digest = sha256(content).hexdigest()
    loss_id = f"loss_{digest[:32]}"
    try:
        losses[loss_id] = mdf.load_loss(content)
    except mdf.ArtefactError as error:
        raise CommandError(f"{file}: {error}") from error
    return {"loss_id": loss_id, "digest": digest}
