"""Phase 1 against a straightforward SinGAN-style loop that trains the same networks.

    python benchmarks/phase1_speed.py

Both do the paper's iteration, three discriminator and three generator steps with wgan-gp at the
finest of eight scales. The loop below does what public implementations of SinGAN do: a generator
with its graph in every discriminator step, the lower scales generated anew in every step, one
backward a term, weight gradients of the discriminator in generator steps, a forward of its own
for the reconstruction, the losses read after every step. Iterations of the two alternate, so that
both see the same machine; medians are reported. Writes benchmarks/results/phase1_speed.md.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from job_environment import enter_job_environment
from torch import Tensor
from torch.nn import functional as F

from mdf.discriminator import Discriminator, initialise
from models.generator import Generator
from services.distortions import Jpeg
from services.phase1.recipe import Recipe
from services.phase1.scale import Random, Scale

RESULTS = Path(__file__).parent / "results" / "phase1_speed.md"
CASES = ((16, 128), (32, 64), (32, 128), (64, 128))  # width, side in px
LOWER_SCALES = 7
FACTOR = 1.3
ROUNDS = 5
JPEG = Jpeg(quality=(7, 10))


class Straightforward:
    """An iteration as it is commonly written."""

    def __init__(self, real: Tensor, coarsest: Tensor, width: int) -> None:
        random = torch.Generator().manual_seed(0)
        self.random = random
        self.real = real
        self.coarsest = coarsest
        self.lower = [
            Generator(width=width).eval().requires_grad_(False) for _ in range(LOWER_SCALES)
        ]
        self.generator = Generator(width=width)
        self.discriminator = Discriminator(width=width)
        for network in (*self.lower, self.generator, self.discriminator):
            initialise(network, random)
        self.sides = [
            max(12, round(real.shape[-1] / FACTOR ** (LOWER_SCALES - scale)))
            for scale in range(LOWER_SCALES + 1)
        ]
        self.optimise_g = torch.optim.Adam(self.generator.parameters(), 5e-4, (0.5, 0.999))
        self.optimise_d = torch.optim.Adam(self.discriminator.parameters(), 5e-4, (0.5, 0.999))

    def source(self) -> Tensor:
        """The generator's input, through all lower scales."""
        image = self.coarsest
        for generator, side in zip(self.lower, self.sides[1:], strict=True):
            image = generator(distorted(image, self.random))
            image = F.interpolate(image, size=(side, side), mode="bicubic")
        return distorted(image, self.random)

    def iterate(self) -> None:
        """Three steps of each network."""
        losses = []
        for _ in range(3):
            self.discriminator.zero_grad()
            on_real = -self.discriminator(self.real).mean()
            on_real.backward(retain_graph=True)
            fake = self.generator(self.source())
            on_fake = self.discriminator(fake.detach()).mean()
            on_fake.backward(retain_graph=True)
            penalty = self.penalty(fake.detach())
            penalty.backward()
            self.optimise_d.step()
            losses += [on_real.item(), on_fake.item(), penalty.item()]
        for _ in range(3):
            self.generator.zero_grad()
            source = self.source()
            adversarial = -self.discriminator(self.generator(source)).mean()
            adversarial.backward(retain_graph=True)
            reconstruction = 100 * F.mse_loss(self.generator(source), self.real)
            reconstruction.backward(retain_graph=True)
            self.optimise_g.step()
            losses += [adversarial.item(), reconstruction.item()]

    def penalty(self, fake: Tensor) -> Tensor:
        """The gradient penalty, λ = 0.1."""
        share = torch.rand(1, generator=self.random)
        between = (share * self.real + (1 - share) * fake).requires_grad_()
        out = self.discriminator(between)
        (gradient,) = torch.autograd.grad(out, between, torch.ones_like(out), create_graph=True)
        return 0.1 * ((gradient.norm(2, dim=1) - 1) ** 2).mean()


def distorted(image: Tensor, random: torch.Generator) -> Tensor:
    """The image with the JPEG task's distortion."""
    return JPEG.apply((image.detach() + 1) / 2, random) * 2 - 1


def ours(real: Tensor, width: int) -> Scale:
    """The product's finest scale."""
    random = Random.seeded(0, torch.device("cpu"))
    return Scale(
        index=0,
        recipe=Recipe(width=width, iterations=1000),
        seeds=[real],
        inputs=[real],
        distort=lambda image: distorted(image, random.device),
        random=random,
    )


def timed(iterate: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU milliseconds of one iteration."""
    wall, cpu = time.perf_counter(), time.process_time()
    iterate()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def main() -> None:
    """Measure every case, write the report."""
    enter_job_environment()
    torch.set_num_threads(1)  # other work on the machine disturbs one thread least
    lines = [
        "# Speed of Phase 1",
        "",
        f"torch {torch.__version__}, one thread, {os.cpu_count()} cores; "
        f"JPEG task; medians of {ROUNDS} interleaved iterations, in ms (CPU time in brackets).",
        "",
        "| width | side, px | straightforward loop | this | ratio of wall | ratio of CPU time |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for width, side in CASES:
        real = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
        start = round(side / FACTOR**LOWER_SCALES)
        coarsest = F.interpolate(real, size=(max(12, start),) * 2, mode="bicubic")
        loop, scale = Straightforward(real, coarsest, width), ours(real, width)
        loop.iterate()
        scale.iterate()
        times = [(timed(loop.iterate), timed(scale.iterate)) for _ in range(ROUNDS)]
        theirs = [statistics.median(t[0][unit] for t in times) for unit in (0, 1)]
        mine = [statistics.median(t[1][unit] for t in times) for unit in (0, 1)]
        lines.append(
            f"| {width} | {side} | {theirs[0]:.0f} ({theirs[1]:.0f}) | {mine[0]:.0f} "
            f"({mine[1]:.0f}) | {theirs[0] / mine[0]:.2f} | {theirs[1] / mine[1]:.2f} |"
        )
        print(lines[-1], flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
