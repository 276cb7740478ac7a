"""Losses of single pixels: L1, L2 and Charbonnier, means over all pixels and channels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.losses.comparison import ComparisonLoss


class L1(ComparisonLoss):
    """E|x − y|; its gradient at equal pixels is 0."""

    name = "L1"

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """E|x − y|."""
        return F.l1_loss(x, y)


class L2(ComparisonLoss):
    """E(x − y)²."""

    name = "L2"

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """E(x − y)²."""
        return F.mse_loss(x, y)


class Charbonnier(ComparisonLoss):
    """E√((x − y)² + ε²) (Charbonnier et al. 1994; Lai et al. 2017): an L1 that is smooth at 0.

    Args:
        epsilon: ε; the loss of equal images.
    """

    name = "Charbonnier"

    def __init__(self, *, epsilon: float = 1e-3) -> None:
        super().__init__()
        if not epsilon > 0:
            raise ValueError(f"epsilon is {epsilon}; it must be above 0")
        self.epsilon = epsilon

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """E√((x − y)² + ε²)."""
        return torch.sqrt((x - y).square() + self.epsilon**2).mean()
