"""EDSR ×4 by its quick preset against bicubic enlargement.

    python benchmarks/super_resolution.py --data FOLDER --test FOLDER

Trains on the photographs in `FOLDER/train` (BSDS500) and measures on those of the test folder
(Set5): PSNR and SSIM of Y (BT.601) without a border of 4 px, as papers have it, and PSNR of RGB,
whole. Writes benchmarks/results/super_resolution.md.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from job_environment import enter_job_environment
from photographs import machine, pictures
from torch import Tensor

from models.metrics import Protocol, measure
from services.images.resampling import resize
from services.local import LocalRun
from services.phase2.degradation import Area, Degradation, Pair
from services.phase2.holdout import split
from services.phase2.recipe import resolve
from services.phase2.training import train_restorer

RESULTS = Path(__file__).parent / "results" / "super_resolution.md"
PRESET = "quick-edsr-sisr"
VALIDATION_SHARE = 0.04
Y, RGB = Protocol(eight_bit=True, colour="y", border=4), Protocol(eight_bit=True)
SCORES = ("PSNR Y, dB", "SSIM Y", "PSNR RGB, dB")


@torch.no_grad()
def main() -> None:
    """Train, measure, write the report."""
    enter_job_environment()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train")
    parser.add_argument("--test", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--iterations", type=int, help="instead of the preset's: for a try")
    arguments = parser.parse_args()
    recipe = {"iterations": arguments.iterations} if arguments.iterations else {}
    plan = resolve(PRESET, recipe=recipe)
    kept, held_out = split(pictures(arguments.data / "train"), VALIDATION_SHARE)
    began, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder, torch.enable_grad():
        run = LocalRun(Path(folder), checkpoint_every=10**9)
        trained = train_restorer(plan, kept, held_out, {}, run)
    took = f"{time.perf_counter() - began:.0f} s, {time.process_time() - cpu:.0f} s of CPU time"

    degradation = Degradation.of(plan)
    rows: dict[str, dict[str, tuple[float, float, float]]] = {}
    for picture in pictures(arguments.test):
        sides = (picture.height, picture.width)
        height, width = (side // plan.factor * plan.factor for side in sides)
        area = Area(0, 0, height, width)
        pair = degradation.pair(picture.read(), area, torch.Generator())
        small, target = Pair(*(image[None] for image in pair))
        rows[Path(picture.name).stem.removesuffix("_GT")] = {
            "bicubic": scores(enlarged(small, (width, height)), target),
            "EDSR": scores(trained.network(small), target),
        }
    network = plan.network.model_dump(exclude={"kind"})
    lines = [
        "# EDSR ×4 by its quick preset against bicubic",
        "",
        f"{machine()}. Trained on {len(kept)} photographs, {trained.manifest.iterations} "
        f"iterations ({took}); {network}. Bicubic is Pillow's, down and up.",
        "",
        *table(rows),
        "",
    ]
    text = "\n".join(lines)
    RESULTS.write_text(text)
    print(text)


def enlarged(small: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic, by Pillow."""
    planes = np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())
    return torch.from_numpy(resize(planes, size, "bicubic")).permute(2, 0, 1)[None]


def scores(restored: Tensor, target: Tensor) -> tuple[float, float, float]:
    """As `SCORES` names them."""
    luma = measure(("psnr", "ssim"), restored, target, Y)
    return luma["psnr"], luma["ssim"], measure(("psnr",), restored, target, RGB)["psnr"]


def table(rows: dict[str, dict[str, tuple[float, float, float]]]) -> list[str]:
    """Images by methods and scores, and the means."""
    heads = [f"{score}: {method}" for score in SCORES for method in ("bicubic", "EDSR")]
    lines = [f"| image | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    methods = {method: [row[method] for row in rows.values()] for method in ("bicubic", "EDSR")}
    means = {
        method: tuple(statistics.fmean(column) for column in zip(*values, strict=True))
        for method, values in methods.items()
    }
    for name, row in [*rows.items(), ("**mean**", means)]:
        cells = [
            f"{row[method][index]:.4f}" if "SSIM" in SCORES[index] else f"{row[method][index]:.2f}"
            for index in range(len(SCORES))
            for method in ("bicubic", "EDSR")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
