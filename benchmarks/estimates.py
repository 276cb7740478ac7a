"""How well the time and memory of a training can be told from counts of its work.

    python benchmarks/estimates.py

Measures iterations of both phases, of networks and images of many sizes, each in a process of its
own: the processor time of one thread, which other work on the machine leaves as it is, the
shortest wall time with all threads, and the process's peak of memory. Fits the costs of what
`services.estimates` counts, for each phase, with no cost below zero and so that relative errors
count alike, and writes them with what is left unexplained to benchmarks/results/estimates.md.
`services/estimates/speed.py` has them from there.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
from job_environment import enter_job_environment
from numpy.typing import NDArray
from scipy.optimize import nnls

from services.estimates import phase1, phase2
from services.estimates.phase2 import Discriminators, Images
from services.estimates.work import Work
from services.local import LocalRun
from services.phase1.recipe import DiscriminatorTraining, Recipe
from services.phase2.recipe import RestorationTraining, RestorerPlan

RESULTS = Path(__file__).parent / "results" / "estimates.md"
SECONDS = 3.0  # of iterations of a case
MDF = Discriminators(widths=(16, 16, 16, 16, 32, 32, 32, 32), layers=5, padding="valid")
IMAGES = Images(count=8, pixels=8 * 192**2, validated=1)

# Width, side in px, objective.
LOSSES: tuple[tuple[int, int, str], ...] = (
    (4, 25, "wgan-gp"),
    (8, 48, "wgan-gp"),
    (16, 32, "wgan-gp"),
    (16, 64, "bce"),
    (16, 128, "wgan-gp"),
    (32, 25, "wgan-gp"),
    (32, 64, "wgan-gp"),
    (32, 160, "bce"),
    (64, 96, "wgan-gp"),
    (64, 200, "wgan-gp"),
    (128, 64, "wgan-gp"),
)
# Preset, parts that differ.
RESTORERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("quick-dncnn-denoising", {}),
    ("quick-dncnn-jpeg", {"recipe": {"batch": 2, "patch": 24}}),
    ("quick-dncnn-jpeg", {"loss": {"kind": "mix"}}),
    ("quick-dncnn-jpeg", {"loss": {"kind": "mdf", "loss_id": "loss_"}}),
    ("quick-edsr-sisr", {}),
    ("quick-dncnn-denoising", {"network": {"kind": "dncnn", "depth": 12}}),
    ("zhao-jpeg", {"recipe": {"batch": 8}}),
    ("zhao-sr", {"recipe": {"batch": 16}}),
    ("paper-srresnet-sisr", {"recipe": {"batch": 4}}),
    ("quick-edsr-sisr", {"network": {"kind": "rrdbnet", "scale": 4, "blocks": 2}}),
)
# Whole jobs that iterate once: scales of a loss; 0 for a restorer.
JOBS = (["job", 2], ["job", 8], ["job", 0])


def main() -> None:
    """Measure every case, fit, and write the report; or measure one, for the process above."""
    enter_job_environment()
    if len(sys.argv) > 1:
        print(json.dumps(measured(*json.loads(sys.argv[1]))))
        return
    cases = [["loss", *case] for case in LOSSES] + [["restorer", *case] for case in RESTORERS]
    rows = []
    for case in [*cases, *JOBS]:
        command = [sys.executable, __file__, json.dumps(case)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(answer.stdout.splitlines()[-1]))
        print(case, rows[-1], flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(report(cases, rows[: len(cases)], rows[len(cases) :]))


def measured(phase: str, *case: Any) -> dict[str, Any]:
    """Seconds of an iteration and the peak of memory, with what is counted of them."""
    import torch

    if phase == "job":
        return whole(*case)
    iterate, work, held, beside = (a_loss if phase == "loss" else a_restorer)(*case)
    walls = timed(iterate, time.perf_counter)
    torch.set_num_threads(1)
    processor = timed(iterate, time.process_time)
    return {
        "wall": min(walls),
        "processor": min(processor),
        "work": astuple(work),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "held": held,
        "beside": beside,
        "torch": torch.__version__,
    }


def whole(scales: int) -> dict[str, Any]:
    """A job that trains next to nothing, from its process's start to its files."""
    import torch

    torch.set_num_threads(1)
    run = LocalRun(Path(tempfile.mkdtemp()))
    if scales:
        from services.phase1.job import run_discriminator_training
        from services.phase1.training import Seed

        recipe = {"scales": scales, "iterations": 1, "width": 8, "max_size": 64}
        wanted = {"seed_image_ids": ["img_"], "task": {"kind": "jpeg"}, "preset": "quick"}
        spec = DiscriminatorTraining.model_validate({**wanted, "recipe": recipe})
        run_discriminator_training(spec, [Seed("0" * 64, noise(0).read())], run)
    else:
        from services.phase2.contact_sheet import draw_contact_sheet
        from services.phase2.training import train_restorer
        from services.restorers.packing import pack

        plan = planned("quick-dncnn-jpeg", {"recipe": {"iterations": 1, "batch": 1}})
        trained = train_restorer(plan, [noise(0)], [noise(1)], {}, run)
        pack(trained.manifest, trained.network)
        draw_contact_sheet(trained.history, title="")
    return {
        "processor": time.process_time(),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def timed(iterate: Callable[[], None], clock: Callable[[], float]) -> list[float]:
    """Seconds of iterations, but the first."""
    iterate()
    seconds: list[float] = []
    while sum(seconds) < SECONDS or len(seconds) < 3:
        began = clock()
        iterate()
        seconds.append(clock() - began)
    return seconds


def a_loss(width: int, side: int, objective: str) -> tuple[Callable[[], None], Work, float, float]:
    """An iteration of Phase 1 at one scale, with JPEG as its distortion."""
    import torch

    from services.distortions import Jpeg
    from services.phase1.scale import Random, Scale

    recipe = Recipe(scales=1, width=width, max_width=width, objective=objective)
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    random = Random.seeded(0, torch.device("cpu"))
    jpeg = Jpeg(quality=(7, 10))
    scale = Scale(
        index=0,
        recipe=recipe,
        seeds=[image],
        inputs=[image],
        distort=lambda given: jpeg.apply((given + 1) / 2, random.device) * 2 - 1,
        random=random,
    )
    size = (side, side)
    work = phase1.iteration(recipe, 0, size, 1)
    return scale.iterate, work, phase1.held_values(recipe, [size]), 0


def a_restorer(preset: Any, parts: dict[str, Any]) -> tuple[Callable[[], None], Work, float, float]:
    """An iteration of Phase 2, with its batch."""
    import torch

    from services.phase2.learner import Learner
    from services.phase2.objective import build, loss_ids
    from services.phase2.patches import Patches

    plan = planned(preset, parts)
    losses = {loss_id: mdf_loss() for loss_id in loss_ids(plan.loss)}
    learner = Learner(
        plan, build(plan.loss, losses), iterations=1000, device=torch.device("cpu"), initial=None
    )
    patches = Patches([noise(number) for number in range(IMAGES.count)], plan)

    def iterate() -> None:
        learner.iterate(patches.batch(learner.iteration))

    shapes = dict.fromkeys(losses, MDF)
    held, beside = phase2.held(plan, IMAGES, shapes)
    return iterate, phase2.iteration(plan, shapes), held, beside


def planned(preset: Any, parts: dict[str, Any]) -> RestorerPlan:
    """The plan of a case."""
    given = RestorationTraining.model_validate({"dataset_id": "ds_", "preset": preset, **parts})
    return given.resolved()


def mdf_loss() -> Any:
    """An MDF loss whose discriminators were not trained."""
    from mdf.artefact import Manifest
    from mdf.discriminator import Discriminator
    from mdf.loss import MDFLoss

    manifest = Manifest(origin="trained", widths=MDF.widths, iterations=(1,) * len(MDF.widths))
    return MDFLoss(manifest, [Discriminator(width=width).eval() for width in MDF.widths])


def noise(number: int) -> Any:
    """A picture of a data set."""
    from services.datasets.picture import Picture

    side = round(IMAGES.side)
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    return Picture(f"{number}.png", str(number), side, side, lambda: pixels)


def fitted(counts: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Costs, none below zero, by which the counts come nearest to what was seen, relatively."""
    costs, _ = nnls(counts / seen[:, None], np.ones_like(seen))
    return np.asarray(costs)


def report(cases: list[list[Any]], rows: list[dict[str, Any]], jobs: list[dict[str, Any]]) -> str:
    """The costs, and what was measured beside what they make of it."""
    seconds = np.array([row["processor"] for row in rows])
    counts = np.array([row["work"] for row in rows])
    phases = {phase: [case[0] == phase for case in cases] for phase in ("loss", "restorer")}
    costs = {phase: fitted(counts[mine], seconds[mine]) for phase, mine in phases.items()}
    told = np.array([row["work"] @ costs[case[0]] for case, row in zip(cases, rows, strict=True)])
    shares = np.array([row["wall"] / row["processor"] for row in rows])
    peaks = np.array([row["peak"] - row["beside"] for row in rows])
    held = np.array([[1.0, row["held"]] for row in rows])
    bytes_ = fitted(held, peaks)
    lines = [
        "# Estimates of trainings",
        "",
        f"torch {rows[0]['torch']}, {os.cpu_count()} CPU cores. Costs of what is counted, in "
        "processor time:",
        "",
        "| | Phase 1 | Phase 2 |",
        "| --- | --- | --- |",
        *(
            f"| {field.name.replace('_', ' ')} | {loss:.3g} s | {restorer:.3g} s |"
            for field, loss, restorer in zip(fields(Work), *costs.values(), strict=True)
        ),
        "",
        f"With all threads an iteration takes {np.min(shares):.2f} times that at best; other work "
        "on the machine makes it longer.",
        f"A whole Phase 1 job of 2 scales of one small iteration takes {jobs[0]['processor']:.1f} "
        f"s of processor time, one of 8 scales {jobs[1]['processor']:.1f} s, such a Phase 2 job "
        f"{jobs[2]['processor']:.1f} s; they hold "
        f"{', '.join(str(job['peak'] >> 20) for job in jobs)} MiB.",
        f"A process that iterates holds {bytes_[0] / 2**20:.0f} MiB, and {bytes_[1]:.3g} bytes for "
        "each value that a layer keeps.",
        "",
        "| case | processor, ms | told / measured | wall, ms | memory, MiB | told / measured |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for case, row, lasts, holds in zip(cases, rows, told, held @ bytes_, strict=True):
        said = " ".join(each if isinstance(each, str) else json.dumps(each) for each in case)
        lines.append(
            f"| {said} | {1e3 * row['processor']:.1f} | {lasts / row['processor']:.2f} | "
            f"{1e3 * row['wall']:.1f} | {row['peak'] / 2**20:.0f} | "
            f"{holds / (row['peak'] - row['beside']):.2f} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
