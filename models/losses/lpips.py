"""LPIPS (Zhang, Isola, Efros, Shechtman and Wang 2018), version 0.1 of its weights."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from models.losses.comparison import ComparisonLoss
from models.losses.feature_networks import alexnet, load_weights, scaled, vgg
from models.metrics.metric import Metric

Network = Literal["alex", "vgg"]

WIDTHS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
SMALLEST_SIDES = {"alex": 31, "vgg": 16}  # px
# Of the images in [−1, 1] that the published weights expect.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)

# Inside the square root, so that the slope at a pixel without activation is finite.
_EPSILON = 1e-20


class LPIPS(ComparisonLoss):
    """Distance of unit-length activations of five layers, weighted by channel.

    Args:
        weights: torchvision's of AlexNet or VGG-16, by name.
        heads: the linear layers' that were fitted to human judgements, `lin0.model.1.weight`, …
        network: "alex" or "vgg".

    Shape: (N, 3, H, W) in [0, 1], H and W ≥ 31 for "alex", 16 for "vgg". Returns a scalar.
    Raises: WeightsError if weights are missing or those of another network.
    """

    name = "LPIPS"
    channels = (3,)

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        heads: Mapping[str, Tensor],
        *,
        network: Network = "alex",
    ) -> None:
        super().__init__()
        self.smallest_side = SMALLEST_SIDES[network]
        layers = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
        features = alexnet() if network == "alex" else vgg("vgg16", *layers)
        self.network = features.with_weights(weights)
        self.heads = nn.ModuleDict({f"lin{i}": _Head(w) for i, w in enumerate(WIDTHS[network])})
        self.heads.requires_grad_(False)
        load_weights(self.heads, heads)

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean over the batch."""
        return self.distances(x, y).mean()

    def distances(self, x: Tensor, y: Tensor) -> Tensor:
        """LPIPS of each image, (N,); x, y (N, 3, H, W) in [0, 1]."""
        total = x.new_zeros(len(x))
        pairs = zip(self._directions(x), self._directions(y), strict=True)
        for head, (a, b) in zip(self.heads.values(), pairs, strict=True):
            total = total + head((a - b).square()).mean(dim=(1, 2, 3)).to(total.dtype)
        return total

    def _directions(self, image: Tensor) -> list[Tensor]:
        activations = self.network(scaled(2 * image.to(self.network.dtype) - 1, SHIFT, SCALE))
        return [a / (a.square().sum(dim=1, keepdim=True) + _EPSILON).sqrt() for a in activations]

    def metric(self) -> Metric:
        """This distance as a metric, for `models.metrics.measure(…, others=…)`."""
        return Metric(
            name="lpips",
            label="LPIPS",
            higher_is_better=False,
            range=(0.0, 1.0),
            conventions="version 0.1",
            smallest_side=self.smallest_side,
            channels=self.channels,
            score=self.distances,
        )


class _Head(nn.Module):
    """A weighted sum over channels, with the published weights' name: `model.1.weight`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(width, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, width, h, w) → (N, 1, h, w)."""
        weighted: Tensor = self.model(x)
        return weighted
