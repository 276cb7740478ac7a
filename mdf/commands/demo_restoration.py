"""The second half of `mdf demo`: a restorer trained with the fresh loss, and one with L2."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdf.client import Client, Dataset, Job
from mdf.commands import sensitivity
from mdf.commands.checkout import server_code
from mdf.commands.demo_jobs import take_up, watch_to_result
from mdf.commands.faults import CommandError
from mdf.commands.terminal import describe_loss, describe_task, duration, note

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mdf.loss import MDFLoss

    Pixels = NDArray[np.uint8]

# They come with scikit-image; the one that is restored is none of them.
_PHOTOGRAPHS = (
    "astronaut",
    "coffee",
    "rocket",
    "camera",
    "brick",
    "grass",
    "gravel",
    "immunohistochemistry",
)
_RESTORED = "chelsea"
_PRESETS = {"denoising": "quick-dncnn-denoising", "sisr": "quick-edsr-sisr"}
_PRESET = "quick-dncnn-jpeg"  # for every other task
_METRICS = ("psnr", "ssim", "ms_ssim", "gmsd", "fsim")
_OWN = "MDF"  # the score by the loss itself
_SECONDS = 120.0  # that the server may take to restore the photograph before it becomes a job


@dataclass(frozen=True)
class Scale:
    """What a score means."""

    label: str
    unit: str | None
    higher_is_better: bool

    def show(self, score: float) -> str:
        """`28.15 dB`, `0.8123`."""
        return f"{score:.2f} {self.unit}" if self.unit else f"{score:.4f}"


@dataclass(frozen=True)
class Version:
    """The photograph degraded or restored, and its scores against the original, by label."""

    name: str
    pixels: "Pixels"  # (H, W, 3)
    scores: dict[str, float]


@dataclass(frozen=True)
class Restorations:
    """A photograph, and what degradation and the two restorers make of it."""

    title: str
    original: "Pixels"
    versions: tuple[Version, ...]  # degraded, then restored by the one of L2 and that of MDF
    metrics: tuple[Scale, ...]
    models: dict[str, Path]  # the files of the two restorers, by the name of the loss
    trained_on: int  # photographs
    iterations: int


def train_and_restore(
    client: Client,
    trained: Job,
    loss: "MDFLoss",
    *,
    folder: Path,
    stem: str,
    recipe: Mapping[str, Any],
) -> Restorations:
    """Train two restorers that differ in the loss alone, and restore one photograph by each.

    Args:
        client: of the demo's server.
        trained: the job that trained the loss; its task is the restorers' too.
        loss: that loss.
        folder: for the models' files.
        stem: how their names begin.
        recipe: hyperparameters that differ from the preset's.
    """
    task = trained.spec["task"]
    dataset = _dataset(client)
    note(f"Data set    {dataset.images} photographs, without the one to be restored")
    preset = _PRESETS.get(task["kind"], _PRESET)
    losses: dict[str, dict[str, Any]] = {
        "L2": {"kind": "l2"},
        "MDF": {"kind": "mdf", "loss_id": trained.loss_id},
    }
    models, files, iterations = {}, {}, 0
    for name, spec in losses.items():
        request = {
            "dataset_id": dataset.id,
            "preset": preset,
            "task": dict(task),
            "loss": spec,
            "recipe": dict(recipe),
        }
        note(f"Restorer    {preset}, {describe_loss(spec)}")
        title = f"{stem}-restorer-{name.lower()}"
        job = take_up(client, title, request, _trainer(client, request))
        job = watch_to_result(client, job)
        note(f"Trained     in {duration(job.run_seconds)}")
        iterations = int(job.spec["recipe"]["iterations"])
        models[name] = str(job.model_id)
        files[name] = client.models.download(models[name], folder / f"{title}.safetensors")
    with server_code():
        original, degraded, input_png = _degraded_photograph(preset, task)
    versions = {"degraded": degraded}
    for name, model_id in models.items():
        versions[f"trained with {name}"] = _restore(client, model_id, input_png)
    with server_code():
        metrics = _metrics()
        scored = tuple(
            Version(name, pixels, _scores(pixels, original, loss))
            for name, pixels in versions.items()
        )
    return Restorations(
        title=f"{describe_task(task)}: a photograph that none of the trainings saw",
        original=original,
        versions=scored,
        metrics=metrics,
        models=files,
        trained_on=dataset.images,
        iterations=iterations,
    )


def _dataset(client: Client) -> Dataset:
    """The photographs as a data set on the server; of an earlier demo if it has them already."""
    name = f"{len(_PHOTOGRAPHS)} photographs of scikit-image"
    for dataset in client.datasets.iterate():
        if dataset.name == name and dataset.state == "ready":
            return dataset
    with tempfile.TemporaryDirectory() as folder:
        for photograph in _PHOTOGRAPHS:
            (Path(folder) / f"{photograph}.png").write_bytes(
                _png(sensitivity.photograph(photograph))
            )
        dataset = client.datasets.upload(Path(folder), name=name, on_bad_file="refuse")
    dataset = client.datasets.wait(dataset.id)
    if dataset.state != "ready":
        raise CommandError(f"the data set is {dataset.state}: {dataset.error}")
    return dataset


def _trainer(client: Client, request: Mapping[str, Any]) -> Callable[[str], Job]:
    def submit(name: str) -> Job:
        return client.jobs.submit({"type": "restoration_training", **request, "name": name})

    return submit


def _degraded_photograph(preset: str, task: Mapping[str, Any]) -> tuple["Pixels", "Pixels", bytes]:
    """The original, what the task makes of it (enlarged if that is small), and that as a file."""
    import torch

    from services.phase2.degradation import Area, Degradation
    from services.phase2.recipe import RestorationTraining

    spec = {"dataset_id": "", "preset": preset, "task": dict(task)}
    plan = RestorationTraining.model_validate(spec).resolved()
    degradation = Degradation.of(plan)
    pixels = sensitivity.photograph(_RESTORED)
    height, width = (side // degradation.unit * degradation.unit for side in pixels.shape[:2])
    pixels = pixels[:height, :width]
    generator = torch.Generator().manual_seed(0)
    pair = degradation.pair(pixels, Area(0, 0, height, width), generator)
    degraded = _pixels(pair.degraded[None])
    return pixels, _enlarged(degraded, width, height), _png(degraded)


def _restore(client: Client, model_id: str, png: bytes) -> "Pixels":
    """The photograph through a model of the server."""
    import numpy as np
    from PIL import Image

    found = client.models.restore(model_id, png, wait=_SECONDS)
    if isinstance(found, Job):
        job = watch_to_result(client, found)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "restored.png"
            found = client.jobs.download_artifact(job.id, "restored", target).read_bytes()
    return np.array(Image.open(BytesIO(found)).convert("RGB"))


def _metrics() -> tuple[Scale, ...]:
    from models.metrics import METRICS

    facts = [METRICS[name] for name in _METRICS]
    scales = [Scale(fact.label, fact.unit, fact.higher_is_better) for fact in facts]
    return (*scales, Scale(_OWN, None, higher_is_better=False))


def _scores(restored: "Pixels", original: "Pixels", loss: "MDFLoss") -> dict[str, float]:
    import torch

    from models.metrics import METRICS, measure

    x, y = _tensor(restored), _tensor(original)
    scores = {METRICS[name].label: value for name, value in measure(_METRICS, x, y).items()}
    with torch.no_grad():
        scores[_OWN] = float(loss(x, y))
    return scores


def _tensor(pixels: "Pixels") -> "Tensor":
    """(1, 3, H, W) in [0, 1]."""
    import torch

    return torch.tensor(pixels).permute(2, 0, 1)[None] / 255


def _pixels(image: "Tensor") -> "Pixels":
    """(H, W, 3) of (1, 3, H, W), as a file holds it."""
    levels = (image[0].clamp(0, 1) * 255).round().byte()
    pixels: Pixels = levels.permute(1, 2, 0).contiguous().numpy()
    return pixels


def _enlarged(pixels: "Pixels", width: int, height: int) -> "Pixels":
    import numpy as np
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def _png(pixels: "Pixels") -> bytes:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
