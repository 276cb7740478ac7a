"""What networks, tasks, losses and figures are called."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from api.studio.wording import number
from services.cards import task_in_words
from services.restorers.card import NETWORKS

LOSSES = {
    "l1": "L1",
    "l2": "L2",
    "charbonnier": "Charbonnier",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "mix": "Mix of MS-SSIM and L1",
    "mdf": "MDF",
    "vgg": "VGG features",
    "lpips": "LPIPS",
    "relativistic_gan": "relativistic GAN",
}
METRICS = {
    "psnr": ("PSNR", "dB"),
    "ssim": ("SSIM", ""),
    "ms_ssim": ("MS-SSIM", ""),
    "iw_ssim": ("IW-SSIM", ""),
    "gmsd": ("GMSD", ""),
    "fsim": ("FSIM", ""),
    "fsimc": ("FSIMc", ""),
}


class Figure(NamedTuple):
    """A metric in validation: of the degraded images, and of the restored ones."""

    name: str
    degraded: str
    restored: str


def network(spec: Mapping[str, Any]) -> str:
    """`DnCNN`, `EDSR ×4`."""
    name = NETWORKS.get(str(spec.get("kind")), "a network").partition(" (")[0].partition(",")[0]
    scale = spec.get("scale", 1)
    return f"{name} ×{scale}" if scale != 1 else name


def task(spec: Mapping[str, Any]) -> str:
    """What it undoes, as a sentence begins."""
    words = task_in_words(spec)
    return words[:1].upper() + words[1:]


def loss(spec: Mapping[str, Any]) -> str:
    """`L2`, `MDF`, `L1 + 0.1 · MDF`."""
    kind = spec.get("kind")
    if kind == "sum":
        return " + ".join(
            loss(term["loss"])
            if term["weight"] == 1
            else f"{number(term['weight'])} · {loss(term['loss'])}"
            for term in spec["terms"]
        )
    if kind == "schedule":
        return ", then ".join(loss(stage["loss"]) for stage in spec["stages"])
    return LOSSES.get(str(kind), "unknown")


def figures(metrics: Mapping[str, Any]) -> Iterator[Figure]:
    """What was measured in validation, with units."""
    for name, (label, unit) in METRICS.items():
        if name in metrics:
            degraded = metrics.get(f"degraded_{name}")
            yield Figure(
                label,
                "—" if degraded is None else measured(degraded, unit),
                measured(metrics[name], unit),
            )


def measured(value: float, unit: str) -> str:
    """`27.31 dB`, `0.8124`."""
    return f"{value:.2f} {unit}" if unit else f"{value:.4f}"
