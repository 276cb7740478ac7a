"""Losses that were trained elsewhere: our own files, and those that the authors published.

`convert` imports torch: it is for `services.workbench`.
"""

from dataclasses import dataclass
from typing import Any

from services.errors import BadLossFileError


@dataclass(frozen=True)
class Converted:
    """A loss in every form that the service offers."""

    manifest: dict[str, Any]
    files: dict[str, bytes]  # by format


def convert(content: bytes, task: dict[str, Any] | None) -> Converted:
    """Read a loss file by its content, never executing it, and write it in the three formats.

    `task` says what the file was trained for, if the file does not.
    """
    from mdf.artefact import write_artefact
    from mdf.errors import MDFError
    from mdf.export import program, state_dicts
    from mdf.loading import read_loss

    try:
        manifest, discriminators = read_loss(content, task=task)
        return Converted(
            manifest=manifest.to_dict(),
            files={
                "safetensors": write_artefact(manifest, discriminators),
                "pth": state_dicts(manifest, discriminators),
                "pt2": program(manifest, discriminators),
            },
        )
    except MDFError as error:
        raise BadLossFileError(str(error)) from None
