"""IW-SSIM (Wang and Li 2011): MS-SSIM on a Laplacian pyramid, weighted by information content.

A position counts by the information (bits) that the two images carry there about the scene, under
the paper's model: a Gaussian scale mixture of 3×3 coefficients and their parent one level
coarser, a gain and noise for the distortion, and noise of the visual system. As in the authors'
program luma runs from 0 to 255, the filter of the pyramid is the binomial one of five taps with
a gain of √2 each way, the luminance is compared at the last level only, and there all positions
count alike.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from models.metrics.ms_ssim import WEIGHTS, power
from models.metrics.protocol import luma
from models.metrics.ssim import C1, C2, SIGMA, WINDOW, similarity_maps
from models.windows import crop, gaussian_window

PEAK = 255
BLOCK = 3  # side of the neighbourhood, coefficients
VISUAL_NOISE = 0.4  # variance of the visual system's noise
SMALLEST_SIDE = (WINDOW - 1 << len(WEIGHTS) - 1) + 1  # px; the last level holds one window

# Against 0/0 in flat areas: what is left of a variance there by rounding in float64.
_EPSILON = 1e-12
_LEAST_BITS = 1e-6


def iw_ssim(x: Tensor, y: Tensor) -> Tensor:
    """IW-SSIM of each image, (N,), computed in float64.

    Args:
        x: restored, (N, 1 or 3, H, W) in [0, 1], H and W ≥ 161.
        y: the originals, whose coefficients the model of the scene is fitted to.
    """
    restored, original = (
        laplacian_pyramid(luma(image.double()) * PEAK, len(WEIGHTS)) for image in (x, y)
    )
    window = gaussian_window(SIGMA, WINDOW)
    c1, c2 = C1 * PEAK**2, C2 * PEAK**2
    score = x.new_ones((), dtype=torch.float64)
    last = len(WEIGHTS) - 1
    for level, weight in enumerate(WEIGHTS):
        maps = similarity_maps(restored[level], original[level], window, c1=c1, c2=c2)
        if level == last:
            mean = (maps.luminance * maps.contrast_structure).mean(dim=(1, 2, 3))
        else:
            parent = original[level + 1] if level < last - 1 else None
            bits = information(restored[level], original[level], parent) + _LEAST_BITS
            bits = crop(bits, (WINDOW - BLOCK) // 2)
            weighted = (maps.contrast_structure * bits).sum(dim=(1, 2, 3))
            mean = weighted / bits.sum(dim=(1, 2, 3))
        score = score * power(mean, weight)
    return score.to(x.dtype)


def information(restored: Tensor, original: Tensor, parent: Tensor | None) -> Tensor:
    """Bits of each position, (N, 1, H − 2, W − 2), equation 31 of the paper.

    Args:
        restored, original: a band of the two images, (N, 1, H, W).
        parent: the original's next coarser band.
    """
    gain, noise = _distortion_channel(restored, original)
    vectors = F.unfold(original, BLOCK).transpose(1, 2)  # (N, positions, 9)
    if parent is not None:
        above = crop(enlarged(parent, original.shape[-2:]), BLOCK // 2)
        vectors = torch.cat([vectors, above.flatten(1)[:, :, None]], dim=2)
    positions, size = vectors.shape[1:]
    covariance = vectors.transpose(1, 2) @ vectors / positions
    ridge = 1e-12 * covariance.diagonal(dim1=1, dim2=2).sum(1) + _EPSILON
    invertible = covariance + ridge[:, None, None] * torch.eye(size).to(covariance)
    whitened = torch.linalg.solve(invertible, vectors.transpose(1, 2)).transpose(1, 2)
    scale = (vectors * whitened).sum(dim=2).reshape(gain.shape) / size
    spread = (noise + (1 + gain.square()) * VISUAL_NOISE) * scale
    bits = torch.zeros_like(scale)
    for eigenvalue in torch.linalg.eigvalsh(covariance).clamp(min=0).unbind(dim=1):
        excess = spread * eigenvalue[:, None, None, None] + VISUAL_NOISE * noise
        bits = bits + torch.log1p(excess / VISUAL_NOISE**2)
    return bits / math.log(2)


def _distortion_channel(restored: Tensor, original: Tensor) -> tuple[Tensor, Tensor]:
    """Gain g and noise variance of restored = g · original + noise in each 3×3 block."""
    mean_x, mean_y = F.avg_pool2d(restored, BLOCK, 1), F.avg_pool2d(original, BLOCK, 1)
    variance_x = (F.avg_pool2d(restored.square(), BLOCK, 1) - mean_x.square()).clamp(min=0)
    variance_y = (F.avg_pool2d(original.square(), BLOCK, 1) - mean_y.square()).clamp(min=0)
    covariance = F.avg_pool2d(restored * original, BLOCK, 1) - mean_x * mean_y
    gain = covariance / (variance_y + _EPSILON)
    return gain, (variance_x - gain * covariance).clamp(min=0)


def laplacian_pyramid(image: Tensor, levels: int) -> list[Tensor]:
    """Bands of `image`, (N, 1, H, W), finest first; the last one is the low pass."""
    bands = []
    for _ in range(levels - 1):
        low = _filtered(image)[..., ::2, ::2]
        spread = torch.zeros_like(image)
        spread[..., ::2, ::2] = low
        bands.append(image - _filtered(spread))
        image = low
    return [*bands, image]


def _filtered(image: Tensor) -> Tensor:
    """The image under the pyramid's filter, reflected at the borders."""
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]).to(image) / 16 * math.sqrt(2)
    padded = F.pad(image, (2, 2, 2, 2), mode="reflect")
    return F.conv2d(F.conv2d(padded, taps.view(1, 1, 1, 5)), taps.view(1, 1, 5, 1))


def enlarged(band: Tensor, size: torch.Size) -> Tensor:
    """`band`, (N, 1, h, w), at twice its size, cut to `size` = (H, W) with H ≤ 2h, W ≤ 2w.

    As in the authors' program: bilinear to 4h − 3, one pixel more on each side by continuing the
    slope, and every second pixel of these.
    """
    height, width = band.shape[-2:]
    fine = F.interpolate(band, (4 * height - 3, 4 * width - 3), mode="bilinear")
    for dim in (2, 3):
        first, second = fine.narrow(dim, 0, 1), fine.narrow(dim, 1, 1)
        count = fine.shape[dim]
        last, before = fine.narrow(dim, count - 1, 1), fine.narrow(dim, count - 2, 1)
        fine = torch.cat([2 * first - second, fine, 2 * last - before], dim=dim)
    return fine[..., ::2, ::2][..., : size[0], : size[1]]
