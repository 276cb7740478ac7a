"""What quick losses are sensitive to, on photographs that they never saw.

    python benchmarks/phase1_sensitivity.py [--photographs FOLDER]

Trains a JPEG and a denoising loss with the preset `quick` on one photograph (astronaut), then
evaluates them on centres of others: the task's own distortion from mild to strong, and others of
the same PSNR. Writes benchmarks/results/phase1_sensitivity.md.
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

from mdf.loss import MDFLoss
from services.distortions import Distortion, GaussianBlur, GaussianNoise, Jpeg
from services.local import LocalRun
from services.phase1.recipe import PRESETS, Denoising, JpegRestoration, Recipe, Task
from services.phase1.training import Seed, train_loss

RESULTS = Path(__file__).parent / "results" / "phase1_sensitivity.md"
SIDE = 256
MOST_PHOTOGRAPHS = 20  # of the folder

Strength = Callable[[float], Distortion]


@dataclass(frozen=True)
class Measured:
    """A trained loss and its value for every distortion (name) and photograph."""

    seconds: float
    cpu_seconds: float
    values: dict[str, list[float]]


def main() -> None:
    """Train, evaluate, write the report."""
    enter_job_environment()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, help="folder of more photographs to test on")
    arguments = parser.parse_args()
    photographs = [centre(image()) for image in (data.chelsea, data.rocket, data.coffee)]
    if arguments.photographs is not None:
        files = sorted(arguments.photographs.glob("*.jpg"))
        chosen = files[:: max(1, len(files) // MOST_PHOTOGRAPHS)][:MOST_PHOTOGRAPHS]
        photographs += [centre(np.asarray(Image.open(file).convert("RGB"))) for file in chosen]
    images = [as_tensor(pixels) for pixels in photographs]

    recipe = PRESETS["quick"]
    untrained = Recipe.model_validate(recipe.model_dump() | {"iterations": 1})
    jpeg = measure(JpegRestoration(), recipe, images, jpeg_distortions)
    report = [*jpeg_report(jpeg, len(images))]
    report += ["", "The same, one iteration of training (nearly random weights):", ""]
    report += jpeg_report(
        measure(JpegRestoration(), untrained, images, jpeg_distortions), len(images)
    )
    denoising = measure(Denoising(), recipe, images, noise_distortions)
    report += denoising_report(denoising, len(images))
    text = "\n".join(["# Sensitivity of quick losses", "", *machine(), *report, ""])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text)
    print(text)


def measure(
    task: Task,
    recipe: Recipe,
    images: Sequence[Tensor],
    distortions: Callable[[Tensor], dict[str, Distortion]],
) -> Measured:
    """Train on astronaut, then evaluate the distortions on every image."""
    pixels = np.ascontiguousarray(data.astronaut())
    seed = Seed(sha256(pixels.tobytes()).hexdigest(), pixels)
    began, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trained = train_loss(task, recipe, [seed], LocalRun(Path(folder)))
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    loss = MDFLoss(trained.manifest, trained.discriminators)
    values: dict[str, list[float]] = {}
    for image in images:
        generator = torch.Generator().manual_seed(0)
        for name, distortion in distortions(image).items():
            with torch.no_grad():
                value = loss(distortion.apply(image, generator), image)
            values.setdefault(name, []).append(float(value))
    return Measured(seconds, cpu_seconds, values)


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


def jpeg_report(measured: Measured, count: int) -> list[str]:
    """A table, and the shares of photographs in which the order is right."""
    values = measured.values
    order = [f"JPEG quality {q}" for q in (7, 10, 30, 90)]
    ten = values["JPEG quality 10"]
    monotone = falling([values[name] for name in order])
    above = sum(a > b for a, b in zip(ten, values["JPEG quality 95"], strict=True)) / count
    lines = ["## JPEG loss", "", *table(values, ten, "quality 10"), ""]
    lines.append(f"- {count} photographs, {monotone:.0%} with q7 > q10 > q30 > q90")
    lines.append(f"- {above:.0%} with quality 10 above a clean re-encoding (quality 95)")
    lines.append(training_time(measured))
    return lines


def denoising_report(measured: Measured, count: int) -> list[str]:
    """A table, and the share of photographs in which the order is right."""
    values = measured.values
    order = [f"noise σ = {sigma}" for sigma in (50, 25, 15, 5)]
    monotone = falling([values[name] for name in order])
    lines = ["", "## Denoising loss", "", *table(values, values["noise σ = 15"], "σ = 15"), ""]
    lines.append(f"- {count} photographs, {monotone:.0%} with the loss rising with σ")
    lines.append(training_time(measured))
    return lines


def table(values: dict[str, list[float]], reference: list[float], name: str) -> list[str]:
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


def training_time(measured: Measured) -> str:
    """How long the training took."""
    return f"- training: {measured.seconds:.0f} s, {measured.cpu_seconds:.0f} s of CPU time"


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
