"""Time and memory of the loss's value and gradient, against the published formula.

    python benchmarks/loss_speed.py [WEIGHTS.pth] [--device cpu] [--rounds 5] [--out FILE.md]

The reference is a plain implementation of the formula, written here: the discriminators as they
are published (trainable weights, BatchNorm in place, features of both images in the graph), value
and gradient by autograd. Both run in turn in the same process; times are medians. Peak memory is
of a fresh process for each, above what it held before. Without WEIGHTS, networks of the published
sizes with random weights are used: the time is the same.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from mdf.artefact import Manifest
from mdf.discriminator import Discriminator, initialise
from mdf.loading import read_loss
from mdf.loss import MDFLoss

SHAPES = [(4, 96), (1, 256), (1, 512)]  # images, side
WIDTHS = (32, 32, 32, 32, 64, 64, 64, 64)

Step = Callable[[Tensor, Tensor], tuple[float, Tensor]]


def published_formula(discriminators: list[Discriminator]) -> Step:
    """Value and gradient as the published code computes them."""

    def activations(discriminator: Discriminator, x: Tensor) -> list[Tensor]:
        head = body = discriminator.head(x)
        for block in discriminator.body:
            body = F.leaky_relu(block.norm(block.conv(body)), 0.2, inplace=True)
        return [head, body, discriminator.tail(body)]

    def step(restored: Tensor, target: Tensor) -> tuple[float, Tensor]:
        restored = restored.detach().requires_grad_()
        loss = restored.new_zeros(restored.shape[0])
        for discriminator in discriminators:
            pairs = zip(
                activations(discriminator, restored),
                activations(discriminator, target),
                strict=True,
            )
            for x, y in pairs:
                loss = loss + ((x - y) ** 2).mean(dim=(1, 2, 3))
        value = loss.mean()
        value.backward()
        return value.item(), restored.grad

    for discriminator in discriminators:
        discriminator.eval().requires_grad_()
    return step


def this_loss(loss: MDFLoss) -> Step:
    """Value and gradient as `MDFLoss` computes them."""

    def step(restored: Tensor, target: Tensor) -> tuple[float, Tensor]:
        restored = restored.detach().requires_grad_()
        value = loss(restored, target)
        value.backward()
        return value.item(), restored.grad

    return step


def steps(weights: Path | None, device: str) -> dict[str, Step]:
    """The two contestants."""
    if weights is None:
        manifest = Manifest(
            origin="imported", widths=WIDTHS, iterations=(0,) * 8, value_range=(0.0, 1.0)
        )
        discriminators = [Discriminator(width=width).eval() for width in WIDTHS]
        for k, discriminator in enumerate(discriminators):
            initialise(discriminator, torch.Generator().manual_seed(k))
    else:
        manifest, discriminators = read_loss(weights.read_bytes())
    loss = MDFLoss(manifest, discriminators).to(device)
    return {
        "published formula": published_formula([each.to(device) for each in discriminators]),
        "mdf.MDFLoss": this_loss(loss),
    }


def images(count: int, side: int, device: str) -> tuple[Tensor, Tensor]:
    """A target and a slightly wrong restoration of it."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(count, 3, side, side, generator=generator)
    restored = target + 0.05 * torch.randn(target.shape, generator=generator)
    return restored.to(device), target.to(device)


def timed(step: Step, *pair: Tensor) -> float:
    """Seconds that one value and gradient take."""
    if pair[0].is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    step(*pair)
    if pair[0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_memory(arguments: argparse.Namespace, name: str, count: int, side: int) -> float:
    """MiB that one value and gradient take at most, in a fresh process."""
    command = [sys.executable, __file__, "--device", arguments.device, "--memory-of", name]
    command += ["--size", str(count), str(side)]
    command += [str(arguments.weights)] if arguments.weights else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def print_memory(arguments: argparse.Namespace) -> None:
    """The child's part of `peak_memory`."""
    step = steps(arguments.weights, arguments.device)[arguments.memory_of]
    pair = images(*arguments.size, arguments.device)
    step(*images(1, 16, arguments.device))  # the libraries' own first-time memory
    if arguments.device == "cpu":
        before = peak_resident()
        step(*pair)
        print((peak_resident() - before) / 1024)
    else:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(*pair)
        print((torch.cuda.max_memory_allocated() - before) / 2**20)


def peak_resident() -> int:
    """The most memory that this program has held, KiB (`getrusage` counts its parent's too)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def machine(device: str) -> str:
    """The machine in general words."""
    if device != "cpu":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    with Path("/proc/meminfo").open() as meminfo:
        memory = int(meminfo.readline().split()[1])
    return (
        f"{torch.get_num_threads()} threads, {platform.machine()}, {memory / 2**20:.0f} GiB, "
        f"torch {torch.__version__}"
    )


def report(arguments: argparse.Namespace) -> str:
    """The table, in Markdown."""
    contestants = steps(arguments.weights, arguments.device)
    lines = [
        "# Value and gradient of the loss: time and peak memory",
        "",
        f"{machine(arguments.device)}; float32, eight discriminators, medians of "
        f"{arguments.rounds} interleaved rounds (`benchmarks/loss_speed.py`).",
        "",
        "| images | implementation | time, ms | faster by | peak memory, MiB | value |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for count, side in SHAPES:
        pair = images(count, side, arguments.device)
        values = {name: step(*pair)[0] for name, step in contestants.items()}  # also warms up
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(arguments.rounds):
            for name, step in contestants.items():
                seconds[name].append(timed(step, *pair))
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        for name in contestants:
            memory = peak_memory(arguments, name, count, side)
            ratio = medians["published formula"] / medians[name]
            lines.append(
                f"| {count}×3×{side}×{side} | {name} | {1000 * medians[name]:.0f} | {ratio:.2f}× "
                f"| {memory:.0f} | {values[name]:.6g} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print; `--memory-of` and `--size` are for its own child processes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("weights", nargs="?", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print_memory(arguments)
        return
    text = report(arguments)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
