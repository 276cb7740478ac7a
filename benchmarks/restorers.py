"""Restorers trained with different losses: what each loss is worth on every metric.

    python benchmarks/restorers.py --data FOLDER [--task denoising jpeg] [--images 50]

FOLDER holds `train` and `val` with photographs (BSDS500). For each task an MDF loss is trained by
the preset `quick` on one photograph of `train`; then the DnCNN of the task's quick preset with
L2, L1, Mix and that loss, on the same photographs, with the same seed, for the same iterations.
They are measured on photographs of `val`, whole, as 8-bit images. Writes
benchmarks/results/restorers.md.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from job_environment import enter_job_environment
from photographs import machine, pictures
from torch import nn

from mdf.loss import MDFLoss
from models.metrics import METRICS, Protocol, measure
from models.restorers import Restorer
from services.datasets.picture import Picture
from services.local import LocalRun
from services.phase1.recipe import PRESETS, Denoising, JpegRestoration, Task
from services.phase1.training import Seed, train_loss
from services.phase2.degradation import Area, Degradation, Pair
from services.phase2.holdout import split
from services.phase2.objective import L1, L2, AnyLoss, Mdf, Mix
from services.phase2.recipe import PresetName, RestorerPlan, resolve
from services.phase2.training import train_restorer

RESULTS = Path(__file__).parent / "results" / "restorers.md"
METRIC_NAMES = ("psnr", "ssim", "ms_ssim", "iw_ssim", "gmsd", "fsim", "fsimc", "l1")
MDF_ID = "loss_of_this_benchmark"
LOSSES: dict[str, AnyLoss] = {"L2": L2(), "L1": L1(), "Mix": Mix(), "MDF": Mdf(loss_id=MDF_ID)}
VALIDATION_SHARE = 0.04  # of `train`, for the choice of the best weights


@dataclass(frozen=True)
class Benchmark:
    """A task: how the restorers are trained, and what they are tested on."""

    preset: PresetName
    loss_task: Task
    test: Task
    title: str


BENCHMARKS = {
    "denoising": Benchmark(
        preset="quick-dncnn-denoising",
        loss_task=Denoising(),
        test=Denoising(sigma=(25, 25)),
        title="Denoising: trained for σ from 0 to 55, tested at σ = 25",
    ),
    "jpeg": Benchmark(
        preset="quick-dncnn-jpeg",
        loss_task=JpegRestoration(),
        test=JpegRestoration(quality=(10, 10)),
        title="JPEG: trained and tested at quality 10",
    ),
}


@dataclass(frozen=True)
class Trained:
    """A restorer and what its training took."""

    network: Restorer
    iterations: int
    seconds: float
    cpu_seconds: float


def main() -> None:
    """Train, measure, write the report."""
    enter_job_environment()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train and val")
    parser.add_argument("--task", nargs="+", choices=[*BENCHMARKS], default=[*BENCHMARKS])
    parser.add_argument("--images", type=int, default=50, help="of val, to measure on")
    parser.add_argument("--iterations", type=int, help="instead of the preset's: for a try")
    arguments = parser.parse_args()
    train = pictures(arguments.data / "train")
    test = pictures(arguments.data / "val")[: arguments.images]
    kept, held_out = split(train, VALIDATION_SHARE)

    lines = [
        "# Restorers trained with different losses",
        "",
        f"{machine()}. DnCNN by the quick presets: the same photographs ({len(kept)}, and "
        f"{len(held_out)} more to choose the best weights by the loss itself), seed, iterations "
        "and recipe for every loss; one training each, so that chance decides small differences. "
        "The cap on the gradient is the preset's, found with L2, and acts most often with MDF. "
        f"Means over the first {len(test)} photographs of the validation set, whole, as 8-bit RGB "
        "(docs/metrics.md has the metrics' conventions). The MDF loss is trained by the preset "
        "`quick` on one of the training photographs. ↑ higher is better, ↓ lower is better; the "
        "best restorer is bold.",
    ]
    for name in arguments.task:
        lines += ["", f"## {BENCHMARKS[name].title}", "", *run(name, train, test, arguments)]
    text = "\n".join([*lines, ""])
    RESULTS.write_text(text)
    print(text)


def run(
    name: str,
    train: Sequence[Picture],
    test: Sequence[Picture],
    arguments: argparse.Namespace,
) -> list[str]:
    """The report of one task."""
    benchmark = BENCHMARKS[name]
    mdf, mdf_seconds = train_mdf(benchmark, train[0])
    recipe = {"iterations": arguments.iterations} if arguments.iterations else {}
    rows: dict[str, dict[str, float]] = {}
    trained: dict[str, Trained] = {}
    for label, loss in LOSSES.items():
        plan = resolve(benchmark.preset, loss=loss, recipe=recipe)
        trained[label] = train_one(plan, train, mdf)
        mdf.cpu()  # a training takes it to its device
        print(f"{name}, {label}: {trained[label].seconds:.0f} s", flush=True)
    plan = resolve(benchmark.preset, task=benchmark.test)
    rows["degraded"] = evaluate(nn.Identity(), plan, test, mdf)
    for label, each in trained.items():
        rows[label] = evaluate(each.network, plan, test, mdf)
    return [*table(rows), "", *times(trained, plan, mdf_seconds)]


def train_mdf(benchmark: Benchmark, picture: Picture) -> tuple[MDFLoss, float]:
    """The task's MDF loss by the quick preset, and the seconds that it took."""
    began = time.perf_counter()
    seed = Seed(picture.digest, picture.read())
    with tempfile.TemporaryDirectory() as folder:
        run = LocalRun(Path(folder), checkpoint_every=10**9)
        made = train_loss(benchmark.loss_task, PRESETS["quick"], [seed], run)
    return MDFLoss(made.manifest, made.discriminators), time.perf_counter() - began


def train_one(plan: RestorerPlan, pictures: Sequence[Picture], mdf: MDFLoss) -> Trained:
    """Train by `plan`; the best weights are chosen on some of the pictures, held out."""
    kept, held_out = split(pictures, VALIDATION_SHARE)
    began, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = LocalRun(Path(folder), checkpoint_every=10**9)
        made = train_restorer(plan, kept, held_out, {MDF_ID: mdf}, run)
    return Trained(
        network=made.network,
        iterations=made.manifest.iterations,
        seconds=time.perf_counter() - began,
        cpu_seconds=time.process_time() - cpu,
    )


@torch.no_grad()
def evaluate(
    network: nn.Module, plan: RestorerPlan, pictures: Sequence[Picture], mdf: MDFLoss
) -> dict[str, float]:
    """Means of all metrics, and of the MDF loss, over whole pictures."""
    degradation, protocol = Degradation.of(plan), Protocol(eight_bit=True)
    rows = []
    for number, picture in enumerate(pictures):
        area = Area(0, 0, picture.height, picture.width)
        generator = torch.Generator().manual_seed(number)
        pair = degradation.pair(picture.read(), area, generator)
        degraded, target = Pair(*(image[None] for image in pair))
        restored = protocol.prepare(network(degraded))
        rows.append(measure(METRIC_NAMES, restored, target, protocol))
        rows[-1]["mdf"] = float(mdf(restored, target))
    return {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}


def table(rows: dict[str, dict[str, float]]) -> list[str]:
    """Losses by metrics; the best restorer of each metric is bold."""
    columns = [*METRIC_NAMES, "mdf"]
    higher = {name: METRICS[name].higher_is_better for name in METRIC_NAMES} | {"mdf": False}
    labels = {name: METRICS[name].label for name in METRIC_NAMES} | {"mdf": "MDF"}
    heads = [f"{labels[name]} {'↑' if higher[name] else '↓'}" for name in columns]
    lines = [f"| trained with | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(columns)}"]
    for label, row in rows.items():
        cells = []
        for name in columns:
            restored = [row[name] for key, row in rows.items() if key != "degraded"]
            best = max(restored) if higher[name] else min(restored)
            text = f"{row[name]:.2f}" if name == "psnr" else f"{row[name]:.4f}"
            cells.append(f"**{text}**" if label != "degraded" and row[name] == best else text)
        shown = "(degraded)" if label == "degraded" else label
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return lines


def times(trained: dict[str, Trained], plan: RestorerPlan, mdf_seconds: float) -> list[str]:
    """What the trainings took."""
    each = ", ".join(
        f"{label} {made.seconds:.0f} s ({made.cpu_seconds:.0f} s of CPU time, weights of "
        f"iteration {made.iterations})"
        for label, made in trained.items()
    )
    network = plan.network.model_dump(exclude={"kind"})
    return [
        f"- network: {plan.network.kind}, {network}",
        f"- trainings: {each}; the MDF loss itself took {mdf_seconds:.0f} s",
    ]


if __name__ == "__main__":
    main()
