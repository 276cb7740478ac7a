"""All metrics by name, and how to score images with several of them."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from models.metrics.metric import Metric
from models.metrics.ms_ssim import ms_ssim, smallest_side
from models.metrics.pixelwise import PEAK_PSNR, l1, l2, psnr
from models.metrics.protocol import Protocol
from models.metrics.ssim import WINDOW, ssim

_EVERY_METRIC = (
    Metric(
        name="psnr",
        label="PSNR",
        unit="dB",
        higher_is_better=True,
        range=(0.0, PEAK_PSNR),
        conventions=f"of the mean over pixels and channels; at most {PEAK_PSNR:g} dB",
        score=psnr,
    ),
    Metric(
        name="ssim",
        label="SSIM",
        higher_is_better=True,
        range=(-1.0, 1.0),
        conventions="Gaussian window of σ 1.5, 11×11, population statistics, no padding, no "
        "scaling, mean over channels",
        smallest_side=WINDOW,
        score=ssim,
    ),
    Metric(
        name="ms_ssim",
        label="MS-SSIM",
        higher_is_better=True,
        range=(0.0, 1.0),
        conventions="five levels with Wang's weights, 2×2 averages between them, windows of SSIM, "
        "no padding, mean over channels",
        smallest_side=smallest_side(),
        score=ms_ssim,
    ),
    Metric(
        name="l1",
        label="L1",
        higher_is_better=False,
        range=(0.0, 1.0),
        conventions="mean over pixels and channels",
        score=l1,
    ),
    Metric(
        name="l2",
        label="L2",
        higher_is_better=False,
        range=(0.0, 1.0),
        conventions="mean square over pixels and channels",
        score=l2,
    ),
)

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _EVERY_METRIC}


def score(
    names: Iterable[str],
    x: Tensor,
    y: Tensor,
    protocol: Protocol | None = None,
    *,
    others: Mapping[str, Metric] | None = None,
) -> dict[str, Tensor]:
    """The score of each image, (N,), by metric.

    Args:
        names: of metrics in `METRICS` or `others`.
        x: restored images, (N, C, H, W) in the protocol's value range.
        y: the originals.
        protocol: how the images are prepared; by default not at all.
        others: further metrics by name, such as `models.metrics.lpips_metric(…)`.

    Raises:
        ValueError: a name stands for no metric.
        ShapeError: a metric cannot compare the images.
    """
    known = {**METRICS, **(others or {})}
    names = list(names)
    for name in names:
        if name not in known:
            raise ValueError(f"{name!r} is no metric; there are {', '.join(known)}")
    protocol = protocol or Protocol()
    restored, original = protocol.prepare(x), protocol.prepare(y)
    return {name: known[name](restored, original) for name in names}


def measure(
    names: Iterable[str],
    x: Tensor,
    y: Tensor,
    protocol: Protocol | None = None,
    *,
    others: Mapping[str, Metric] | None = None,
) -> dict[str, float]:
    """The mean of each metric over the images, as numbers; as `score` otherwise."""
    scores = score(names, x.detach(), y.detach(), protocol, others=others)
    return {name: values.mean().item() for name, values in scores.items()}
