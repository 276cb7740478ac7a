"""All metrics by name, and how to score images with several of them."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from models.metrics.fsim import fsim, fsimc
from models.metrics.gmsd import gmsd
from models.metrics.iw_ssim import SMALLEST_SIDE as IW_SSIM_SIDE
from models.metrics.iw_ssim import iw_ssim
from models.metrics.metric import Metric
from models.metrics.ms_ssim import ms_ssim, smallest_side
from models.metrics.pixelwise import PEAK_PSNR, l1, l2, psnr
from models.metrics.protocol import Protocol
from models.metrics.ssim import WINDOW, ssim

FSIM_CONVENTIONS = (
    "of the luma, averaged over blocks to about 256 px on the shorter side; Scharr, zeros beyond "
    "the border; log-Gabor filters of four scales and four orientations"
)

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
        name="iw_ssim",
        label="IW-SSIM",
        higher_is_better=True,
        range=(0.0, 1.0),
        conventions="of the luma; Laplacian pyramid of five levels with Wang's weights, windows of "
        "SSIM, blocks of 3×3 coefficients and their parent, no padding",
        smallest_side=IW_SSIM_SIDE,
        channels=(1, 3),
        score=iw_ssim,
    ),
    Metric(
        name="gmsd",
        label="GMSD",
        higher_is_better=False,
        range=(0.0, 0.5),
        conventions="of the luma, averaged over 2×2 pixels; Prewitt, zeros beyond the border, "
        "population statistics",
        smallest_side=2,
        channels=(1, 3),
        score=gmsd,
    ),
    Metric(
        name="fsim",
        label="FSIM",
        higher_is_better=True,
        range=(0.0, 1.0),
        conventions=FSIM_CONVENTIONS,
        smallest_side=2,
        channels=(1, 3),
        score=fsim,
    ),
    Metric(
        name="fsimc",
        label="FSIMc",
        higher_is_better=True,
        range=(0.0, 1.0),
        conventions=f"{FSIM_CONVENTIONS}; chroma of YIQ, grey images as FSIM",
        smallest_side=2,
        channels=(1, 3),
        score=fsimc,
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
        others: further metrics by name, such as `models.losses.LPIPS(…).metric()`.

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
