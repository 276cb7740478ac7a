"""Mix: MS-SSIM and L1 combined (Zhao et al. 2017, equation 14)."""

from collections.abc import Sequence

from torch import Tensor

from models.losses.comparison import ComparisonLoss
from models.losses.ssim import PATCH, SIGMAS, checked_side, ms_ssim_map
from models.windows import gaussian_window, local_mean

PAPER_ALPHA = 0.84


class Mix(ComparisonLoss):
    """α · (1 − MS-SSIM) + (1 − α) · G_σM * |x − y|, averaged over positions and channels.

    MS-SSIM is Zhao's, and the absolute difference is weighted by its widest window, which sums
    to one: both terms see the same positions, those at which the window lies within the image.

    Args:
        alpha: α, weight of the MS-SSIM term, 0 to 1; 0.025 is the default of the layer that the
            authors released.
        window: side at which all windows are cut, px, odd.
        sigmas: of the windows, px, the widest (σ_M) last.

    Shape: x, y (N, C, H, W) in [0, 1], H and W ≥ `window`. Returns a scalar.
    """

    name = "Mix"

    def __init__(
        self, *, alpha: float = PAPER_ALPHA, window: int = PATCH, sigmas: Sequence[float] = SIGMAS
    ) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}; it must be from 0 to 1")
        self.alpha = alpha
        self.smallest_side = checked_side(window)
        self.sigmas = tuple(sigmas)

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """The two terms, weighted."""
        side = self.smallest_side
        dissimilarity = 1 - ms_ssim_map(x, y, window=side, sigmas=self.sigmas).mean()
        distance = local_mean((x - y).abs(), gaussian_window(self.sigmas[-1], side)).mean()
        return self.alpha * dissimilarity + (1 - self.alpha) * distance
