"""What quick losses are sensitive to, on photographs that they never saw.

    python benchmarks/phase1_sensitivity.py [--photographs FOLDER] [--published Ds_JPEG.pth]

Trains a JPEG and a denoising loss with the preset `quick` on one photograph (astronaut), then
evaluates them on centres of others: the task's own distortion from mild to strong, and others of
the same PSNR; likewise the JPEG loss that its authors published, where that is at hand. Writes
benchmarks/results/phase1_sensitivity.md.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from job_environment import enter_job_environment
from PIL import Image
from skimage import data
from torch import Tensor

import mdf
from mdf.loss import MDFLoss
from services.distortions import Distortion, GaussianBlur, GaussianNoise, Jpeg
from services.local import LocalRun
from services.phase1.recipe import PRESETS, Denoising, JpegRestoration, Recipe, Task
from services.phase1.training import Seed, train_loss

RESULTS = Path(__file__).parent / "results" / "phase1_sensitivity.md"
SIDE = 256
MOST_PHOTOGRAPHS = 20  # of the folder

Strength = Callable[[float], Distortion]


Distortions = Callable[[Tensor], dict[str, Distortion]]
Values = dict[str, list[float]]  # of a loss, for every distortion by name, one per photograph


@dataclass(frozen=True)
class Trained:
    """A loss, and what its training took."""

    loss: MDFLoss
    seconds: float
    cpu_seconds: float


def main() -> None:
    """Train, evaluate, write the report."""
    enter_job_environment()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, help="folder of more photographs to test on")
    parser.add_argument("--published", type=Path, help="the authors' weights for JPEG")
    arguments = parser.parse_args()
    photographs = [centre(image()) for image in (data.chelsea, data.rocket, data.coffee)]
    if arguments.photographs is not None:
        files = sorted(arguments.photographs.glob("*.jpg"))
        chosen = files[:: max(1, len(files) // MOST_PHOTOGRAPHS)][:MOST_PHOTOGRAPHS]
        photographs += [centre(np.asarray(Image.open(file).convert("RGB"))) for file in chosen]
    images = [as_tensor(pixels) for pixels in photographs]

    recipe = PRESETS["quick"]
    jpeg, denoising = train(JpegRestoration(), recipe), train(Denoising(), recipe)
    one_iteration = Recipe.model_validate(recipe.model_dump() | {"iterations": 1})
    untrained = train(JpegRestoration(), one_iteration)
    report = ["## JPEG loss", ""]
    report += [*jpeg_report(evaluate(jpeg.loss, images, jpeg_distortions)), training_time(jpeg)]
    report += ["", "## The same after one iteration of training (nearly random weights)", ""]
    report += jpeg_report(evaluate(untrained.loss, images, jpeg_distortions))
    if arguments.published is not None:
        report += ["", "## The JPEG loss that the authors published", ""]
        published = mdf.load_loss(arguments.published)
        report += jpeg_report(evaluate(published, images, jpeg_distortions))
    report += ["", "## Denoising loss", ""]
    report += denoising_report(evaluate(denoising.loss, images, noise_distortions))
    report += [training_time(denoising)]
    text = "\n".join(["# Sensitivity of quick losses", "", *machine(), *report, ""])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text)
    print(text)


def train(task: Task, recipe: Recipe) -> Trained:
    """Train a loss on astronaut."""
    pixels = np.ascontiguousarray(data.astronaut())
    seed = Seed(sha256(pixels.tobytes()).hexdigest(), pixels)
    began, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trained = train_loss(task, recipe, [seed], LocalRun(Path(folder)))
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    return Trained(MDFLoss(trained.manifest, trained.discriminators), seconds, cpu_seconds)


def evaluate(loss: MDFLoss, images: Sequence[Tensor], distortions: Distortions) -> Values:
    """The loss between every image and its distorted versions."""
    values: Values = {}
    for image in images:
        generator = torch.Generator().manual_seed(0)
        for name, distortion in distortions(image).items():
            with torch.no_grad():
                value = loss(distortion.apply(image, generator), image)
            values.setdefault(name, []).append(float(value))
    return values


def jpeg_distortions(image: Tensor) -> dict[str, Distortion]:
    """JPEG from bad to good, and noise and blur of the PSNR of quality 10."""
    jpeg = {f"JPEG quality {q}": Jpeg(quality=q) for q in (7, 10, 30, 90, 95)}
    target = jpeg["JPEG quality 10"]
    return {
        **jpeg,
        "noise, PSNR of quality 10": matched(image, target, lambda s: GaussianNoise(sigma=s), 255),
        "blur, PSNR of quality 10": matched(image, target, lambda s: GaussianBlur(sigma=s), 20),
    }


def noise_distortions(image: Tensor) -> dict[str, Distortion]:
    """Noise from weak to strong, and JPEG and blur against noise of σ = 15."""
    noise = {f"noise σ = {sigma}": GaussianNoise(sigma=sigma) for sigma in (5, 15, 25, 50)}
    target = noise["noise σ = 15"]
    return {
        **noise,
        "blur, PSNR of σ = 15": matched(image, target, lambda s: GaussianBlur(sigma=s), 20),
    }


def matched(image: Tensor, target: Distortion, strength: Strength, most: float) -> Distortion:
    """The distortion of the squared error that `target` has on `image`, by bisection."""

    def error(distortion: Distortion) -> float:
        distorted = distortion.apply(image, torch.Generator().manual_seed(0))
        return float((distorted - image).square().mean())

    aim, low, high = error(target), 0.0, most
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if error(strength(middle)) < aim else (low, middle)
    return strength(high)


def jpeg_report(values: Values) -> list[str]:
    """A table, and the shares of photographs in which the order is right."""
    order = [f"JPEG quality {q}" for q in (7, 10, 30, 90)]
    ten = values["JPEG quality 10"]
    monotone = falling([values[name] for name in order])
    above = falling([ten, values["JPEG quality 95"]])
    return [
        *table(values, ten, "quality 10"),
        "",
        f"- {len(ten)} photographs, {monotone:.0%} with q7 > q10 > q30 > q90",
        f"- {above:.0%} with quality 10 above a clean re-encoding (quality 95)",
    ]


def denoising_report(values: Values) -> list[str]:
    """A table, and the share of photographs in which the order is right."""
    order = [f"noise σ = {sigma}" for sigma in (50, 25, 15, 5)]
    reference = values["noise σ = 15"]
    monotone = falling([values[name] for name in order])
    return [
        *table(values, reference, "σ = 15"),
        "",
        f"- {len(reference)} photographs, {monotone:.0%} with the loss rising with σ",
    ]


def table(values: Values, reference: list[float], name: str) -> list[str]:
    """Median loss of each distortion, and median of its ratio to `reference`."""
    lines = [f"| distortion | loss (median) | relative to {name} (median) |", "| --- | --- | --- |"]
    for distortion, row in values.items():
        ratio = statistics.median(a / b for a, b in zip(row, reference, strict=True))
        lines.append(f"| {distortion} | {statistics.median(row):.4g} | {ratio:.2f} |")
    return lines


def falling(rows: Sequence[Sequence[float]]) -> float:
    """Share of the columns in which the values fall from row to row."""
    columns = list(zip(*rows, strict=True))
    return sum(list(c) == sorted(c, reverse=True) for c in columns) / len(columns)


def training_time(trained: Trained) -> str:
    """How long the training took."""
    return f"- training: {trained.seconds:.0f} s, {trained.cpu_seconds:.0f} s of CPU time"


def machine() -> list[str]:
    """What this was measured on."""
    return [
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{os.cpu_count()} cores. Trained on skimage's astronaut, tested on {SIDE}×{SIDE} px "
        "centres of other photographs.",
        "",
    ]


def centre(pixels: np.ndarray) -> np.ndarray:
    """The SIDE × SIDE pixels in the middle."""
    height, width = pixels.shape[:2]
    top, left = (height - SIDE) // 2, (width - SIDE) // 2
    return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE, :3])


def as_tensor(pixels: np.ndarray) -> Tensor:
    """8-bit pixels as (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


if __name__ == "__main__":
    main()
