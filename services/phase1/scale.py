"""One scale of Phase 1: the adversarial game of a generator and a discriminator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mdf.discriminator import Discriminator, initialise
from models.adversarial import DiscriminatorTerms, bce, bce_generator, wgan_generator, wgan_gp
from models.generator import Generator
from services.phase1.history import CURVES
from services.phase1.recipe import Recipe

POINTS = 200  # of a curve, at most


@dataclass(frozen=True)
class Random:
    """The random generators of a training; the global ones are never used.

    `host` draws weights and whatever Python must know, `device` what stays on the device, so
    that drawing never waits for a GPU.
    """

    host: torch.Generator
    device: torch.Generator

    @classmethod
    def seeded(cls, seed: int, device: torch.device) -> "Random":
        """Both generators started from `seed`."""
        return cls(
            host=torch.Generator().manual_seed(seed),
            device=torch.Generator(device).manual_seed(seed + 1),
        )


class Scale:
    """The networks, optimisers and curves of the scale that is being trained.

    Args:
        index: 0 for the coarsest.
        recipe: the hyperparameters.
        seeds: yᵏ of each seed, (1, 3, H, W) in [−1, 1].
        inputs: ỹᵏ⁻¹↑ρ of each seed, of the same shapes: what the generator restores, before zᵏ.
        distort: adds zᵏ, drawn anew at each call.
        random: weights, seeds and crops are drawn from it.
    """

    def __init__(
        self,
        *,
        index: int,
        recipe: Recipe,
        seeds: Sequence[Tensor],
        inputs: Sequence[Tensor],
        distort: Callable[[Tensor], Tensor],
        random: Random,
    ) -> None:
        self.index = index
        self.iteration = 0
        self._recipe = recipe
        self._seeds = seeds
        self._inputs = inputs
        self._distort = distort
        self._random = random

        device = seeds[0].device
        width, layers = recipe.width_at(index), recipe.layers
        self.discriminator = Discriminator(width=width, layers=layers, padding=recipe.padding)
        self.generator = Generator(width=width, layers=layers)
        initialise(self.discriminator, random.host)
        initialise(self.generator, random.host)
        self.discriminator.to(device)
        self.generator.to(device)
        self._optimisers = [self._adam(self.discriminator), self._adam(self.generator)]
        self.fake = inputs[0]  # the generator's latest
        self._latest = torch.zeros(len(CURVES) - 1, device=device)
        self._sums = torch.zeros_like(self._latest)  # since the curves' last point
        self._summed = 0
        self._points: list[list[float]] = []

    def warm_start(self, discriminator: dict[str, Tensor], generator: dict[str, Tensor]) -> None:
        """Start from the networks of the scale before, if they are as wide."""
        if discriminator["head.conv.weight"].shape[0] == self._recipe.width_at(self.index):
            self.discriminator.load_state_dict(discriminator)
            self.generator.load_state_dict(generator)

    def iterate(self) -> None:
        """One iteration: the discriminator's steps, then the generator's.

        The generator learns only from fakes of its current weights. Its weights do not change
        while the discriminator learns, so the last fake of these steps serves its first step.
        """
        recipe = self._recipe
        real, source = self._draw()
        self._set_learning_rate()
        for step in range(recipe.discriminator_steps):
            with torch.set_grad_enabled(step == recipe.discriminator_steps - 1):
                fake = self.generator(self._distort(source))
            terms = self._discriminator_terms(real, fake.detach())
            self._descend(0, sum(terms, start=torch.zeros_like(terms.real)))

        self.discriminator.requires_grad_(False)
        for step in range(recipe.generator_steps):
            if step > 0:
                fake = self.generator(self._distort(source))
            adversarial = self._adversarial(self.discriminator(fake))
            reconstruction = F.mse_loss(fake, real)
            self._descend(1, adversarial + recipe.reconstruction_weight * reconstruction)
        self.discriminator.requires_grad_(True)

        self.iteration += 1
        self.fake = fake.detach()
        self._latest = torch.stack([*terms, adversarial, reconstruction]).detach()
        self._sums += self._latest
        self._summed += 1

    def point(self) -> dict[str, float] | None:
        """The curves' next point, means since the last one, if this iteration has one.

        The only place where the host waits for the device.
        """
        interval = -(-self._recipe.iterations // POINTS)
        if self.iteration % interval and self.iteration != self._recipe.iterations:
            return None
        values = [*(self._sums / self._summed).tolist(), self._learning_rate(self.iteration - 1)]
        self._sums.zero_()
        self._summed = 0
        self._points.append([self.iteration, *values])
        return dict(zip(CURVES, values, strict=True))

    def is_finite(self) -> bool:
        """Whether the latest losses and every weight and statistic are finite."""
        numbers = [self._latest.sum()]
        for network in (self.discriminator, self.generator):
            numbers += [tensor.sum().float() for tensor in network.state_dict().values()]
        return bool(torch.stack(numbers).isfinite().all())

    def freeze(self) -> None:
        """End the training of this scale: BatchNorm by its statistics, no gradients."""
        for network in (self.discriminator, self.generator):
            network.eval().requires_grad_(False)

    @torch.no_grad()
    def generate(self) -> list[Tensor]:
        """ỹᵏ of each seed, whole, from its distorted input."""
        return [self.generator(self._distort(source)) for source in self._inputs]

    @property
    def curves(self) -> Tensor:
        """Rows of an iteration and its values, float64."""
        return torch.tensor(self._points, dtype=torch.float64).reshape(-1, 1 + len(CURVES))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration depends on, save the random generators."""
        return {
            "iteration": self.iteration,
            "discriminator": self.discriminator.state_dict(),
            "generator": self.generator.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
            "latest": self._latest,
            "sums": self._sums,
            "summed": self._summed,
            "curves": self.curves,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.iteration = state["iteration"]
        self.discriminator.load_state_dict(state["discriminator"])
        self.generator.load_state_dict(state["generator"])
        for optimiser, saved in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self._latest = state["latest"].to(self._sums.device)
        self._sums.copy_(state["sums"])
        self._summed = state["summed"]
        self._points = state["curves"].tolist()

    def _draw(self) -> tuple[Tensor, Tensor]:
        """yᵏ and the generator's undistorted input, of one seed, or of one crop of it."""
        chosen = self._integer(len(self._seeds))
        real, source = self._seeds[chosen], self._inputs[chosen]
        crop = self._recipe.crop
        if crop is None:
            return real, source
        height, width = real.shape[-2:]
        top = self._integer(max(height - crop, 0) + 1)
        left = self._integer(max(width - crop, 0) + 1)
        window = (..., slice(top, top + crop), slice(left, left + crop))
        return real[window], source[window]

    def _integer(self, end: int) -> int:
        return int(torch.randint(end, (), generator=self._random.host))

    def _discriminator_terms(self, real: Tensor, fake: Tensor) -> DiscriminatorTerms:
        if self._recipe.objective == "bce":
            return bce(self.discriminator, real, fake)
        return wgan_gp(
            self.discriminator,
            real,
            fake,
            weight=self._recipe.gradient_penalty,
            generator=self._random.device,
        )

    def _adversarial(self, on_fake: Tensor) -> Tensor:
        generator_loss = bce_generator if self._recipe.objective == "bce" else wgan_generator
        return generator_loss(on_fake)

    def _descend(self, optimiser: int, loss: Tensor) -> None:
        self._optimisers[optimiser].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self._optimisers[optimiser].step()

    def _adam(self, network: nn.Module) -> torch.optim.Adam:
        recipe = self._recipe
        return torch.optim.Adam(
            network.parameters(),
            lr=recipe.learning_rate,
            betas=(recipe.beta1, recipe.beta2),
            fused=True,
        )

    def _learning_rate(self, iteration: int) -> float:
        recipe = self._recipe
        dropped = recipe.lr_decay_at is not None and iteration >= recipe.lr_decay_at
        return recipe.learning_rate * (recipe.lr_decay if dropped else 1.0)

    def _set_learning_rate(self) -> None:
        for optimiser in self._optimisers:
            optimiser.param_groups[0]["lr"] = self._learning_rate(self.iteration)
