"""Losses put together: a weighted sum, or one that changes in the course of the training."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn


class Term(NamedTuple):
    """A loss in a sum; `loss` is None for the adversarial term, whose value the trainer brings."""

    name: str
    weight: float
    loss: nn.Module | None


class Stage(NamedTuple):
    """The sum that is used before iteration `until`; None: to the end."""

    terms: Sequence[Term]
    until: int | None = None


class WeightedSum(nn.Module):
    """Σ weight · loss.

    Args:
        terms: with names of their own, at most one of them adversarial.

    Shape: as its losses. Returns a scalar and every term by name, without its weight.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        super().__init__()
        names = [term.name for term in terms]
        if not terms or len(set(names)) < len(names):
            raise ValueError(f"a sum has one or more terms with different names; these are {names}")
        self.terms = tuple(terms)
        # The modules once more, for `to(device)`; the names may hold characters that keys may not.
        self.losses = nn.ModuleList(term.loss for term in terms if term.loss is not None)

    def forward(
        self,
        restored: Tensor,
        target: Tensor,
        *,
        adversarial: Callable[[], Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum for `restored` against `target`, and its terms.

        Args:
            adversarial: the adversarial term, called if the sum has one; without it the sum is
                computed without that term, as for a validation.
        """
        values = {}
        total = restored.new_zeros(())
        for name, weight, loss in self.terms:
            if loss is not None:
                value = loss(restored, target)
            elif adversarial is not None:
                value = adversarial()
            else:
                continue
            values[name] = value.detach()
            total = total + weight * value
        return total, values


class Objective(nn.Module):
    """What a network is trained to minimise: a sum, or stages of them that take turns.

    Args:
        stages: in order, `until` rising; the last lasts to the end.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.ends = tuple(stage.until for stage in stages)
        if not stages or self.ends[-1] is not None or None in self.ends[:-1]:
            raise ValueError(f"every stage but the last has an end; these are {self.ends}")
        self.sums = nn.ModuleList(WeightedSum(stage.terms) for stage in stages)

    def forward(
        self,
        restored: Tensor,
        target: Tensor,
        iteration: int,
        *,
        adversarial: Callable[[], Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective at `iteration`, counted from 0, and its terms without their weights.

        Args:
            restored, target: (N, C, H, W) in [0, 1].
            adversarial: the generator's adversarial term; called if the stage has one.
        """
        stage = next(
            number for number, end in enumerate(self.ends) if end is None or iteration < end
        )
        total: tuple[Tensor, dict[str, Tensor]] = self.sums[stage](
            restored, target, adversarial=adversarial
        )
        return total
