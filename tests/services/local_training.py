"""A small training in a process of its own: `python local_training.py FOLDER [stay]`.

One that is to stay goes no further than its second checkpoint.
"""

import sys
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from skimage import data

from mdf.artefact import write_artefact
from services.local import LocalRun
from services.phase1.recipe import JpegRestoration, Recipe
from services.phase1.training import Seed, train_loss


class StayingRun(LocalRun):
    """Waits at its second checkpoint until the process is ended."""

    saved = 0

    def save_checkpoint(self, state: bytes) -> None:
        super().save_checkpoint(state)
        self.saved += 1
        if self.saved == 2:
            time.sleep(3600)


def main(folder: Path, run_type: type[LocalRun]) -> None:
    torch.set_num_threads(1)
    pixels = np.ascontiguousarray(data.astronaut()[0:64, 180:252])
    recipe = Recipe(
        scales=3, factor="auto", min_size=15, max_size=48, width=8, iterations=24, lr_decay_at=18
    )
    run = run_type(folder, checkpoint_every=3)
    seed = Seed(sha256(pixels.tobytes()).hexdigest(), pixels)
    trained = train_loss(JpegRestoration(), recipe, [seed], run)
    history = b"".join(array.tobytes() for each in trained.history for array in vars(each).values())
    (folder / "history.bin").write_bytes(history)
    (folder / "loss.safetensors").write_bytes(
        write_artefact(trained.manifest, trained.discriminators)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), StayingRun if sys.argv[2:] == ["stay"] else LocalRun)
