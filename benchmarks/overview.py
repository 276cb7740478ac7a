"""The README's picture: what the service does, drawn from a real training.

    python benchmarks/overview.py mdf-demo/astronaut-jpeg.safetensors

Left: the seed image. Middle: a photograph that the loss never saw, compressed, and where the
discriminators of three scales see that. Right: the loss against JPEG quality on three such
photographs, measured now.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import skimage.data
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import mdf

PHOTOGRAPHS = ("chelsea", "coffee", "rocket")
QUALITIES = (5, 7, 10, 15, 20, 30, 50, 70, 90)
SHOWN_SCALES = (0, 3, 7)
CROP = (slice(60, 220), slice(60, 220))
MAP_CROP = (slice(55, 215), slice(55, 215))  # a map without padding has lost 5 px on each side
COLOURS = ("#1f6fb2", "#d1495b", "#3d8b5f")
INK = "#222222"


def main() -> None:
    """Draw the picture for the loss named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loss", type=Path, help="a JPEG loss, trained on the astronaut")
    parser.add_argument("--out", type=Path, default=Path("docs/images/overview.png"))
    arguments = parser.parse_args()
    loss = mdf.load_loss(arguments.loss)
    photographs = {name: _square(getattr(skimage.data, name)()) for name in PHOTOGRAPHS}
    figure = draw(loss, skimage.data.astronaut(), photographs)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    Image.open(buffer).convert("P", palette=Image.Palette.ADAPTIVE, colors=255).save(
        arguments.out, optimize=True
    )


def draw(
    loss: mdf.MDFLoss, seed: NDArray[np.uint8], photographs: dict[str, NDArray[np.uint8]]
) -> Figure:
    """One row: seed → what four discriminators see → the loss's values."""
    figure = Figure(figsize=(13.2, 4.5), dpi=110, facecolor="white")
    left = figure.add_axes((0.015, 0.12, 0.2, 0.66))
    left.imshow(seed)
    left.set_title("one seed image", fontsize=11, color=INK)
    left.axis("off")

    shown = photographs[PHOTOGRAPHS[0]]
    damaged = _jpeg(shown, 10)
    maps = loss.maps(_tensor(damaged), _tensor(shown))
    tiles: list[tuple[str, NDArray[np.generic]]] = [("JPEG, quality 10", damaged[CROP])]
    for scale in SHOWN_SCALES:
        *_, tail = (each.map[0].numpy() for each in maps if each.scale == scale)
        tiles.append((f"scale {scale + 1}", tail[MAP_CROP]))
    for position, (title, tile) in enumerate(tiles):
        row, column = divmod(position, 2)
        axes = figure.add_axes((0.305 + 0.145 * column, 0.47 - 0.39 * row, 0.13, 0.33))
        axes.imshow(tile, cmap="magma", vmax=float(np.quantile(tile, 0.995)))
        axes.set_title(title, fontsize=9, color=INK, pad=3)
        axes.axis("off")
    caption = f"{loss.manifest.scales} discriminators, frozen:\nwhat they see in a new photograph"
    place = {"ha": "center", "va": "center", "fontsize": 11, "color": INK}
    figure.text(0.4375, 0.885, caption, **place)

    right = figure.add_axes((0.69, 0.16, 0.295, 0.62))
    for (name, photograph), colour in zip(photographs.items(), COLOURS, strict=True):
        values = [
            float(loss(_tensor(_jpeg(photograph, quality)), _tensor(photograph)))
            for quality in QUALITIES
        ]
        right.plot(QUALITIES, values, marker="o", markersize=3.5, color=colour, label=name)
    right.set_yscale("log")
    right.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
    right.minorticks_off()
    right.set_xlabel("JPEG quality", fontsize=10, color=INK)
    right.set_ylabel("loss", fontsize=10, color=INK)
    right.set_title("a loss that knows this task", fontsize=11, color=INK)
    right.legend(title="never seen in training", fontsize=9, title_fontsize=9, frameon=False)
    right.grid(visible=True, which="major", alpha=0.25)
    right.spines[["top", "right"]].set_visible(False)
    for start, end in (((0.222, 0.45), (0.298, 0.45)), ((0.588, 0.45), (0.636, 0.45))):
        arrow = ConnectionPatch(
            start, end, "figure fraction", "figure fraction",
            arrowstyle="-|>", mutation_scale=18, linewidth=1.8, color=INK,
        )  # fmt: skip
        figure.add_artist(arrow)
    figure.text(0.26, 0.5, "Phase 1", ha="center", fontsize=10, color=INK)
    return figure


def _square(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = photograph.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(photograph[top : top + side, left : left + side, :3])


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


if __name__ == "__main__":
    main()
