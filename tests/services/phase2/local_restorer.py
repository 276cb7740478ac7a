"""A small training in a process of its own: `python local_restorer.py FOLDER [stay]`.

One that is to stay goes no further than its second checkpoint.
"""

import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from skimage import data

from services.datasets.picture import Picture
from services.local import LocalRun
from services.phase2.recipe import RestorerPlan
from services.phase2.training import train_restorer
from services.restorers.artefact import write_restorer
from tests.services.local_training import StayingRun


def picture(name: str, pixels: np.ndarray) -> Picture:
    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    return Picture(name, sha256(pixels.tobytes()).hexdigest(), width, height, lambda: pixels)


def main(folder: Path, run_type: type[LocalRun]) -> None:
    torch.set_num_threads(1)
    pictures = [
        picture("astronaut", data.astronaut()[:80, 160:260]),
        picture("coffee", data.coffee()[100:180, 200:280]),
    ]
    plan = RestorerPlan.model_validate(
        {
            "task": {"kind": "jpeg", "quality": [5, 20]},
            "network": {"kind": "dncnn", "depth": 4, "width": 8},
            "loss": {"kind": "mix"},
            "recipe": {
                "patch": 32,
                "batch": 4,
                "iterations": 40,
                "validate_every": 10,
                "validation_crop": 64,
                "ema": 0.9,
            },
        }
    )
    run = run_type(folder, checkpoint_every=4)
    trained = train_restorer(plan, pictures[:1], pictures[1:], {}, run)
    content = write_restorer(trained.manifest, trained.network)
    (folder / "restorer.safetensors").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]), StayingRun if sys.argv[2:] == ["stay"] else LocalRun)
