"""SSIM and MS-SSIM as losses (Zhao, Gallo, Frosio and Kautz 2017).

Zhao's MS-SSIM does without a pyramid: it has M Gaussian windows on the image at full size,

    MS-SSIM(p) = l_M(p) · Π csⱼ(p),  σ = 0.5, 1, 2, 4, 8 px

with all exponents 1 and l under the widest window only (equation 11 and what follows it). All
windows are cut at one side and every position is used at which that square lies within the image;
nothing is padded. On patches as large as the window, the paper's 31 px, this is the one value at
the centre, as in equation 12; on larger ones it is the mean over p.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.losses.comparison import ComparisonLoss
from models.metrics.ms_ssim import WEIGHTS, ms_ssim, smallest_side
from models.metrics.ssim import SIGMA, similarity_maps, ssim, window_side
from models.windows import crop, gaussian_window

SIGMAS = (0.5, 1.0, 2.0, 4.0, 8.0)  # px
PATCH = 31  # px


class SSIM(ComparisonLoss):
    """1 − SSIM under a Gaussian window (equation 6).

    Args:
        sigma: of the window, px; 1.5 is customary, the paper has 5 and 9.
        window: side of the window, px, odd; by default it is cut at 3.5 σ: 11 px for σ 1.5.

    Shape: H and W ≥ `window`; positions at which the window leaves the image are left out.
    """

    name = "SSIM"

    def __init__(self, *, sigma: float = SIGMA, window: int | None = None) -> None:
        super().__init__()
        if not sigma > 0:
            raise ValueError(f"sigma is {sigma}; it must be above 0 pixels")
        self.sigma = sigma
        self.smallest_side = checked_side(window_side(sigma) if window is None else window)

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """1 − SSIM."""
        return 1 - ssim(x, y, sigma=self.sigma, window=self.smallest_side).mean()


class MSSSIM(ComparisonLoss):
    """1 − MS-SSIM in Zhao's form (equation 12).

    Args:
        window: side at which all windows are cut, px, odd.
        sigmas: of the windows, px, the widest last.

    Shape: H and W ≥ `window`.
    """

    name = "MS-SSIM (Zhao)"

    def __init__(self, *, window: int = PATCH, sigmas: Sequence[float] = SIGMAS) -> None:
        super().__init__()
        self.smallest_side = checked_side(window)
        self.sigmas = tuple(sigmas)

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """1 − MS-SSIM."""
        return 1 - ms_ssim_map(x, y, window=self.smallest_side, sigmas=self.sigmas).mean()


class PyramidMSSSIM(ComparisonLoss):
    """1 − MS-SSIM in Wang's form, on a pyramid (see `models.metrics.ms_ssim`).

    Args:
        levels: of the pyramid, 1 to 5; below 5, Wang's weights of the first ones are scaled to
            sum to one, so that smaller patches will do.

    Shape: H and W ≥ 11 · 2^(levels − 1): 176 for all five levels.
    """

    name = "MS-SSIM (Wang)"

    def __init__(self, *, levels: int = len(WEIGHTS)) -> None:
        super().__init__()
        if not 1 <= levels <= len(WEIGHTS):
            raise ValueError(f"levels is {levels}; it must be from 1 to {len(WEIGHTS)}")
        used = WEIGHTS[:levels]
        # Wang's weights sum to 1.0001; all five stay as published.
        self.weights = used if levels == len(WEIGHTS) else tuple(w / sum(used) for w in used)
        self.smallest_side = smallest_side(levels)

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """1 − MS-SSIM."""
        return 1 - ms_ssim(x, y, weights=self.weights).mean()


def ms_ssim_map(
    x: Tensor, y: Tensor, *, window: int = PATCH, sigmas: Sequence[float] = SIGMAS
) -> Tensor:
    """Zhao's MS-SSIM at every position, (N, C, H − window + 1, W − window + 1).

    Args:
        x, y: (N, C, H, W) in [0, 1].
        window: side at which all windows are cut, px, odd.
        sigmas: of the windows, px, the widest last.
    """
    product = torch.ones_like(x[..., window - 1 :, window - 1 :])
    for number, sigma in enumerate(sigmas, 1):
        weights = gaussian_window(sigma, window)
        border = (window - len(weights)) // 2
        maps = similarity_maps(crop(x, border), crop(y, border), weights)
        product = product * maps.contrast_structure
        if number == len(sigmas):
            product = product * maps.luminance
    return product


def checked_side(window: int) -> int:
    """`window`, if it is the side of a window; ValueError otherwise."""
    if window < 3 or window % 2 == 0:
        raise ValueError(f"window is {window}; it must be odd and at least 3 pixels")
    return window
