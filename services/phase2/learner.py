"""A restorer that learns: network, optimiser, moving average, and the discriminator if any."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models.losses import Objective, relativistic_discriminator, relativistic_generator
from models.restorers import Restorer, VGGDiscriminator, initialise
from services.phase2.degradation import Pair
from services.phase2.hyperparameters import Adam, AdamW, Adversary, Sgd
from services.phase2.objective import adversarial_weight
from services.phase2.recipe import RestorerPlan

POINTS = 200  # of a curve, at most

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Learner:
    """The state of a training between two iterations, and the way from one to the next.

    Args:
        plan: network, loss and recipe.
        objective: what `plan.loss` computes, on the device.
        iterations: of the whole training, for the schedule.
        device: to train on.
        initial: a network of the same kind to start from; else weights are drawn.
    """

    def __init__(
        self,
        plan: RestorerPlan,
        objective: Objective,
        *,
        iterations: int,
        device: torch.device,
        initial: Restorer | None,
    ) -> None:
        recipe = plan.recipe
        self.iteration = 0
        self._plan = plan
        self._objective = objective
        self._iterations = iterations
        self._device = device
        random = torch.Generator().manual_seed(recipe.random_seed)
        self.network = plan.network.build()
        if initial is None:
            initialise(self.network, random)
        else:
            self.network.load_state_dict(initial.state_dict())
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it
        self._optimiser = _optimiser(recipe.optimiser, self.network)
        self._scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
        self._average: Restorer | None = None
        if recipe.ema is not None:
            self._average = plan.network.build()
            self._average.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # as above
            self._average.load_state_dict(self.network.state_dict())
            self._average.eval().requires_grad_(False)
        self._adversary: _Adversary | None = None
        if plan.is_adversarial:
            self._adversary = _Adversary(recipe.adversary, plan, random, device)
        self._sums: dict[str, Tensor] = {}  # of the losses since the curves' last point
        self._summed: Counter[str] = Counter()
        self.points: list[dict[str, float]] = []  # of the curves, each with its `iteration`

    @property
    def evaluated(self) -> Restorer:
        """The network that is validated and kept: of averaged weights, if the recipe says so."""
        return self.network if self._average is None else self._average

    def iterate(self, batch: Pair) -> None:
        """One step of the optimiser on `batch`, in as many parts as the recipe says."""
        recipe = self._plan.recipe
        self._set_learning_rates()
        self._optimiser.zero_grad()
        restored = []
        for degraded, target in zip(
            batch.degraded.chunk(recipe.accumulate),
            batch.target.chunk(recipe.accumulate),
            strict=True,
        ):
            restored.append(self._descend(Pair(degraded, target)))
        if recipe.clip_norm is not None:
            self._scaler.unscale_(self._optimiser)
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)
            if self._scaler.is_enabled():
                # An overflow of float16 is no divergence: the scaler leaves the step out.
                norm = torch.where(norm.isfinite(), norm, recipe.clip_norm)
            self._add({"gradient_norm": norm})
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._update_average()
        if self._adversary is not None and self._adversarial_weight > 0:
            targets = batch.target.chunk(recipe.accumulate)
            self._add(self._adversary.learn(list(zip(restored, targets, strict=True))))
        self.iteration += 1

    def point(self) -> dict[str, float] | None:
        """The curves' next point, means since the last one, if this iteration has one.

        The only place where the host waits for the device.
        """
        interval = -(-self._iterations // POINTS)
        if self.iteration % interval and self.iteration != self._iterations:
            return None
        means = torch.stack([self._sums[name] / self._summed[name] for name in self._sums])
        values = dict(zip(self._sums, means.tolist(), strict=True))
        values["learning_rate"] = self._optimiser.param_groups[0]["lr"]
        self._sums.clear()
        self._summed.clear()
        self.points.append({"iteration": self.iteration, **values})
        return values

    def is_finite(self) -> bool:
        """Whether every weight and statistic, and the losses since the last point, are finite."""
        networks: list[nn.Module] = [self.network, self.evaluated]
        if self._adversary is not None:
            networks.append(self._adversary.network)
        tensors = [tensor for network in networks for tensor in network.state_dict().values()]
        sums = [tensor.sum().float() for tensor in [*tensors, *self._sums.values()]]
        return bool(torch.stack(sums).isfinite().all())

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration depends on; its batch depends on its number alone."""
        return {
            "iteration": self.iteration,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "adversary": None if self._adversary is None else self._adversary.state_dict(),
            "sums": dict(self._sums),
            "summed": dict(self._summed),
            "points": self.points,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.iteration = state["iteration"]
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        if self._adversary is not None:
            self._adversary.load_state_dict(state["adversary"])
        self._sums = {name: value.to(self._device) for name, value in state["sums"].items()}
        self._summed = Counter(state["summed"])
        self.points = state["points"]

    @property
    def _adversarial_weight(self) -> float:
        return adversarial_weight(self._plan.loss, self.iteration)

    def _descend(self, part: Pair) -> Tensor:
        """Add the gradient of a part of the batch; returns what the network made of it."""
        recipe = self._plan.recipe
        degraded = part.degraded.contiguous(memory_format=torch.channels_last)
        dtype = _DTYPES[recipe.precision]
        with torch.autocast(self._device.type, dtype, enabled=dtype is not torch.float32):
            restored: Tensor = self.network(degraded)
        restored = restored.float()
        loss: Tensor
        loss, terms = self._objective(
            restored, part.target, self.iteration, adversarial=self._against(restored, part.target)
        )
        share = loss / recipe.accumulate
        self._scaler.scale(share).backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self._add({"loss": loss, **terms})
        return restored.detach()

    def _against(self, restored: Tensor, target: Tensor) -> Callable[[], Tensor] | None:
        adversary = self._adversary
        if adversary is None:
            return None
        return lambda: adversary.judge(restored, target)

    def _add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            detached = value.detach()
            self._sums[name] = self._sums[name] + detached if name in self._sums else detached
            self._summed[name] += 1

    @torch.no_grad()
    def _update_average(self) -> None:
        decay, average = self._plan.recipe.ema, self._average
        if decay is None or average is None:
            return
        # Early averages are short, or the first weights would stay in them for long.
        decay = min(decay, (1 + self.iteration) / (10 + self.iteration))
        torch._foreach_lerp_(list(average.parameters()), list(self.network.parameters()), 1 - decay)
        for kept, latest in zip(average.buffers(), self.network.buffers(), strict=True):
            kept.copy_(latest)

    def _set_learning_rates(self) -> None:
        recipe = self._plan.recipe
        factor = recipe.learning_rate_factor(self.iteration, self._iterations)
        self._optimiser.param_groups[0]["lr"] = recipe.optimiser.learning_rate * factor
        if self._adversary is not None:
            self._adversary.set_learning_rate(recipe.adversary.learning_rate * factor)


class _Adversary:
    """The discriminator of a relativistic average GAN (ESRGAN, Wang et al. 2018)."""

    def __init__(
        self,
        recipe: Adversary,
        plan: RestorerPlan,
        random: torch.Generator,
        device: torch.device,
    ) -> None:
        self.network = VGGDiscriminator(
            size=plan.recipe.patch, channels=plan.network.channels, width=recipe.width
        )
        initialise(self.network, random)
        self.network.to(device)
        self._optimiser = torch.optim.Adam(
            self.network.parameters(),
            lr=recipe.learning_rate,
            betas=(recipe.beta1, recipe.beta2),
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    def judge(self, restored: Tensor, target: Tensor) -> Tensor:
        """The restorer's loss; the discriminator's weights get no gradient."""
        self.network.requires_grad_(False)
        with torch.no_grad():
            on_target = self.network(target)
        loss: Tensor = relativistic_generator(on_target, self.network(restored))
        self.network.requires_grad_(True)
        return loss

    def learn(self, parts: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """One step on pairs of what was restored, without a graph, and its target."""
        self._optimiser.zero_grad()
        losses = []
        for restored, target in parts:
            loss = relativistic_discriminator(self.network(target), self.network(restored))
            (loss / len(parts)).backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
            losses.append(loss.detach())
        self._optimiser.step()
        return {"discriminator": torch.stack(losses).mean()}

    def set_learning_rate(self, learning_rate: float) -> None:
        """Of the next step."""
        self._optimiser.param_groups[0]["lr"] = learning_rate

    def state_dict(self) -> dict[str, Any]:
        """Network and optimiser."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])


def _optimiser(recipe: Adam | AdamW | Sgd, network: nn.Module) -> torch.optim.Optimizer:
    parameters = list(network.parameters())
    if isinstance(recipe, Sgd):
        return torch.optim.SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    kind = torch.optim.AdamW if isinstance(recipe, AdamW) else torch.optim.Adam
    return kind(
        parameters,
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=recipe.weight_decay,
        fused=True,
    )
