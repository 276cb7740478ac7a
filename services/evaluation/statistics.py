"""What a sample of scores says of a model: mean, worst images, and whether two models differ.

Student's t and its distribution (Student 1908), by the continued fraction of the incomplete beta
function (Press et al., Numerical Recipes, section 6.4); the percentile bootstrap (Efron 1979).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
ALPHA = 0.05  # of the tests
WORST = 5  # percent of the images: the percentile that tells of the worst
RESAMPLES = 2000

Scores = NDArray[np.float64]
Interval = tuple[float, float]

_TINY = 1e-300
_PRECISION = 1e-15


@dataclass(frozen=True)
class Summary:
    """Scores of one model by one metric.

    Attributes:
        n: how many images.
        mean: over the images.
        mean_interval: 95 % confidence interval of the mean by Student's t; None of one image.
        worst: the 5th percentile, from the side of the worse: 5 % of the images score worse.
        worst_interval: 95 % interval of that, by bootstrap; None of one image.
    """

    n: int
    mean: float
    mean_interval: Interval | None
    worst: float
    worst_interval: Interval | None


@dataclass(frozen=True)
class PairedTest:
    """A one-tailed paired t-test, of the hypothesis that the first scores higher.

    Attributes:
        difference: mean of the first less that of the second.
        t: Student's; None if the difference is the same for every image, or there is but one.
        p: chance of such a difference, or a greater one, if the first is no better; None of one
            image.
    """

    difference: float
    t: float | None
    p: float | None


def summarise(scores: Scores, *, higher_is_better: bool, random_seed: int) -> Summary:
    """Mean and 5th percentile of (n,) scores, with their intervals."""
    n, mean = len(scores), float(scores.mean())
    percent = WORST if higher_is_better else 100 - WORST
    worst = float(np.percentile(scores, percent))
    if n < 2:
        return Summary(n, mean, None, worst, None)
    margin = student_quantile((1 + CONFIDENCE) / 2, n - 1) * _standard_error(scores)
    draw = np.random.default_rng(random_seed).integers(n, size=(RESAMPLES, n))
    drawn = np.percentile(scores[draw], percent, axis=1)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, (tail, 100 - tail))
    return Summary(n, mean, (mean - margin, mean + margin), worst, (float(low), float(high)))


def paired_test(first: Scores, second: Scores) -> PairedTest:
    """Whether `first` scores higher than `second`, of the same images in the same order."""
    differences = first - second
    difference = float(differences.mean())
    if len(differences) < 2:
        return PairedTest(difference, None, None)
    error = _standard_error(differences)
    # What is left of equal differences after rounding is no spread.
    if error <= 1e-12 * abs(difference):
        return PairedTest(difference, None, 0.5 if difference == 0 else float(difference < 0))
    t = difference / error
    return PairedTest(difference, t, student_cdf(-t, len(differences) - 1))


def student_cdf(t: float, degrees: int) -> float:
    """Chance that Student's t of so many degrees of freedom is at most `t`."""
    tail = _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t)) / 2
    return 1 - tail if t > 0 else tail


def student_quantile(chance: float, degrees: int) -> float:
    """The t that is not exceeded with that chance, 0.5 to 1."""
    low, high = 0.0, 1.0
    while student_cdf(high, degrees) < chance:
        low, high = high, 2 * high
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if student_cdf(middle, degrees) < chance else (low, middle)
    return high


def _standard_error(scores: Scores) -> float:
    return float(scores.std(ddof=1)) / math.sqrt(len(scores))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, I_x(a, b)."""
    if x in (0, 1):
        return float(x)
    logarithm = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    # The fraction converges fast on this side of the mode; the other is its mirror image.
    if x < (a + 1) / (a + b + 2):
        return math.exp(logarithm) * _fraction(a, b, x) / a
    return 1 - math.exp(logarithm) * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction, by Lentz's method."""
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 / _not_zero(1 + step * d)
            c = _not_zero(1 + step / c)
            value *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
