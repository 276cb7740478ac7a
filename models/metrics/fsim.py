"""FSIM and FSIMc (Zhang, Zhang, Mou and Zhang 2011): agreement of phase congruency and gradients.

Images are averaged over blocks and brought to about 256 px on the shorter side; phase congruency
is Kovesi's with four scales and four orientations of log-Gabor filters, the threshold against
noise drawn from the finest scale; gradients are Scharr's with zeros beyond the border. Luma and
chroma run from 0 to 255 as in the authors' program. FSIMc multiplies by the agreement of the
chroma (YIQ) to the power of 0.03; where opposite chroma makes it negative the modulus is taken
(the paper leaves it open, the authors' program takes the real part, 0.4 % less there). On grey
images it equals FSIM.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models.metrics.gradients import SCHARR, gradient_magnitude
from models.metrics.protocol import luma

PEAK = 255
WORKING_SIDE = 256  # px
T1, T2, T3, T4 = 0.85, 160.0, 200.0, 200.0  # stabilise the four similarities
CHROMA_EXPONENT = 0.03  # λ
CHROMA = ((0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))  # I and Q of RGB

SCALES = 4
ORIENTATIONS = 4
SHORTEST_WAVE = 6  # px, of the finest filter; each further one is twice as long
BANDWIDTH = 0.55  # σ of the log-Gabor function over its centre frequency
ANGULAR_RATIO = 1.2  # distance of the orientations over σ of their spread
NOISE_DEVIATIONS = 2.0  # k, over the mean of the noise's energy, at which it is cut
NOISE_SHRINKAGE = 1.7  # Kovesi's empirical divisor of that threshold
LOW_PASS = (0.45, 15)  # cut-off frequency (cycles/px) and order of the Butterworth filter

_ENERGY_FLOOR = 1e-4  # Kovesi's ε, on the scale of 0 to 255
_SQUARE_FLOOR = 1e-12  # inside square roots, so that their slope at 0 is finite


class _Features(NamedTuple):
    """What is compared of an image, (N, 1, h, w) each but for the chroma, (N, 2, h, w)."""

    congruency: Tensor
    gradient: Tensor
    chroma: Tensor


def fsim(x: Tensor, y: Tensor) -> Tensor:
    """FSIM of each image, (N,); x, y (N, 1 or 3, H, W) in [0, 1]."""
    return _fsim(x, y, exponent=0)


def fsimc(x: Tensor, y: Tensor) -> Tensor:
    """FSIMc of each image, (N,); x, y (N, 1 or 3, H, W) in [0, 1]."""
    return _fsim(x, y, exponent=CHROMA_EXPONENT)


def _fsim(x: Tensor, y: Tensor, *, exponent: float) -> Tensor:
    a, b = _features(x), _features(y)
    similarity = _agreement(a.congruency, b.congruency, T1) * _agreement(a.gradient, b.gradient, T2)
    if exponent:
        i, q = (
            _agreement(a.chroma[:, plane, None], b.chroma[:, plane, None], stabiliser)
            for plane, stabiliser in enumerate((T3, T4))
        )
        similarity = similarity * _modulus_power(i * q, exponent)
    # The floor gives every pixel of featureless images the same weight.
    weight = torch.maximum(a.congruency, b.congruency) + _SQUARE_FLOOR
    return (similarity * weight).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))


def _agreement(a: Tensor, b: Tensor, stabiliser: float) -> Tensor:
    return (2 * a * b + stabiliser) / (a.square() + b.square() + stabiliser)


def _modulus_power(base: Tensor, exponent: float) -> Tensor:
    # Near 0 the slope has no bound: it is taken as flat there.
    return base.abs().clamp(min=1e-6) ** exponent


def _features(image: Tensor) -> _Features:
    factor = max(1, int(min(image.shape[2:]) / WORKING_SIDE + 0.5))
    image = F.avg_pool2d(image * PEAK, factor)
    brightness = luma(image)
    if image.shape[1] == 3:
        chroma = torch.einsum("pc,nchw->nphw", torch.tensor(CHROMA).to(image), image)
    else:
        chroma = torch.zeros_like(image).expand(-1, 2, -1, -1)
    return _Features(phase_congruency(brightness), gradient_magnitude(brightness, SCHARR), chroma)


def phase_congruency(image: Tensor) -> Tensor:
    """Phase congruency, 0 to 1, (N, 1, H, W) (Kovesi 1999, in the form of FSIM's authors).

    Args:
        image: (N, 1, H, W) in [0, 255].
    """
    filters = log_gabor_filters(*image.shape[2:]).to(image)
    spectrum = torch.fft.fft2(image)
    total_energy = torch.zeros_like(image)
    total_amplitude = torch.zeros_like(image)
    for bank in filters:  # one orientation, all scales: (scales, H, W)
        responses = torch.fft.ifft2(spectrum * bank)  # (N, scales, H, W); even + i odd
        even, odd = responses.real, responses.imag
        sum_even, sum_odd = even.sum(1, keepdim=True), odd.sum(1, keepdim=True)
        length = torch.sqrt(sum_even.square() + sum_odd.square() + _SQUARE_FLOOR) + _ENERGY_FLOOR
        mean_even, mean_odd = sum_even / length, sum_odd / length
        along = even * mean_even + odd * mean_odd
        across = even * mean_odd - odd * mean_even
        energy = (along - across.abs()).sum(1, keepdim=True)
        total_energy = total_energy + F.relu(energy - _noise_threshold(responses[:, 0], bank))
        amplitude = torch.sqrt(even.square() + odd.square() + _SQUARE_FLOOR)
        total_amplitude = total_amplitude + amplitude.sum(1, keepdim=True)
    return total_energy / total_amplitude


def _noise_threshold(finest: Tensor, bank: Tensor) -> Tensor:
    """Energy that noise alone would reach, (N, 1, 1, 1).

    Args:
        finest: responses of the finest filter, (N, H, W), complex.
        bank: the filters of the orientation, (scales, H, W).

    The finest filter sees little but noise: its median power, of a Rayleigh distribution, tells
    the power of white noise, and the filters' overlap what becomes of that in the sum.
    """
    power = finest.real.square() + finest.imag.square()
    mean_power = power.flatten(1).median(dim=1).values / math.log(2)
    noise_power = mean_power / bank[0].square().sum()
    impulses = torch.fft.ifft2(bank).real * math.sqrt(bank[0].numel())
    squares = impulses.square().sum()
    products = (impulses.sum(0).square().sum() - squares) / 2
    energy = 2 * noise_power * squares + 4 * noise_power * products
    tau = torch.sqrt(energy.clamp(min=0) / 2 + _SQUARE_FLOOR)
    mean, deviation = tau * math.sqrt(math.pi / 2), tau * math.sqrt(2 - math.pi / 2)
    threshold = (mean + NOISE_DEVIATIONS * deviation) / NOISE_SHRINKAGE
    return threshold[:, None, None, None]


def log_gabor_filters(height: int, width: int) -> Tensor:
    """The filters over frequency, (orientations, scales, H, W), float64, frequency 0 first."""
    rows, columns = _frequencies(height), _frequencies(width)
    radius = torch.sqrt(rows[:, None].square() + columns.square())
    angle = torch.atan2(-rows[:, None], columns)
    radius[0, 0] = 1  # its logarithm is taken; the filters are 0 there
    cutoff, order = LOW_PASS
    low_pass = 1 / (1 + (radius / cutoff) ** (2 * order))
    radial = []
    for scale in range(SCALES):
        centre = 1 / (SHORTEST_WAVE * 2**scale)
        log_gabor = torch.exp(-(torch.log(radius / centre) ** 2) / (2 * math.log(BANDWIDTH) ** 2))
        log_gabor = log_gabor * low_pass
        log_gabor[0, 0] = 0
        radial.append(log_gabor)
    spread = math.pi / ORIENTATIONS / ANGULAR_RATIO
    banks = []
    for orientation in range(ORIENTATIONS):
        direction = orientation * math.pi / ORIENTATIONS
        difference = angle - direction
        distance = torch.atan2(torch.sin(difference), torch.cos(difference)).abs()
        angular = torch.exp(-distance.square() / (2 * spread**2))
        banks.append(torch.stack(radial) * angular)
    return torch.stack(banks)


def _frequencies(count: int) -> Tensor:
    """Frequencies of a Fourier transform, cycles/px, (count,); an odd count reaches ±1/2."""
    steps = torch.arange(count, dtype=torch.float64) - count // 2
    frequencies: Tensor = torch.fft.ifftshift(steps / (count if count % 2 == 0 else count - 1))
    return frequencies
