"""A job of type `discriminator_training`: the trained loss, packed for download."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mdf import export
from mdf.artefact import Manifest, write_artefact
from services.phase1.contact_sheet import draw_contact_sheet
from services.phase1.recipe import DiscriminatorTraining
from services.phase1.training import Seed, train_loss
from services.run import Run

Format = Literal["safetensors", "pth", "pt2"]


@dataclass(frozen=True)
class LossPackage:
    """A trained loss in every format it can be downloaded in, and a picture of its training."""

    manifest: Manifest
    files: dict[Format, bytes]
    contact_sheet: bytes  # PNG


def run_discriminator_training(
    spec: DiscriminatorTraining, seeds: Sequence[Seed], run: Run
) -> LossPackage:
    """Train the loss that `spec` describes on `seeds`, the images it names, in its order.

    Raises: as `train_loss`.
    """
    trained = train_loss(spec.task, spec.resolved_recipe(), seeds, run)
    manifest, discriminators = trained.manifest, trained.discriminators
    return LossPackage(
        manifest=manifest,
        files={
            "safetensors": write_artefact(manifest, discriminators),
            "pth": export.state_dicts(manifest, discriminators),
            "pt2": export.program(manifest, discriminators),
        },
        contact_sheet=draw_contact_sheet(trained.history, title=_title(spec, manifest)),
    )


def _title(spec: DiscriminatorTraining, manifest: Manifest) -> str:
    parameters = {
        name: value
        for name, value in manifest.task.items()
        if isinstance(value, int | float | list)
    }
    details = ", ".join(f"{name} {value}" for name, value in parameters.items() if name != "kind")
    task = f"{spec.task.kind}, {details}" if details else spec.task.kind
    return f"MDF loss for {task}: {manifest.scales} scales, preset {spec.preset}"
