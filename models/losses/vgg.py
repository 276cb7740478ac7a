"""The feature loss of a VGG (Johnson, Alahi and Fei-Fei 2016; Ledig et al. 2017)."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from models.losses.comparison import ComparisonLoss
from models.losses.feature_networks import VGG, scaled, vgg

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB
DEVIATION = (0.229, 0.224, 0.225)


class VGGLoss(ComparisonLoss):
    """Mean squared difference of one layer's activations.

    Args:
        network: "vgg16" or "vgg19".
        layer: whose output is compared: `conv5_4` before its ReLU (ESRGAN), `relu5_4` after.
        weights: torchvision's of the whole network or of its features, by name.

    Shape: (N, 3, H, W) in [0, 1], H and W ≥ 2^(block − 1). Returns a scalar; its gradient goes
    to the restored image only.
    Raises: WeightsError if `weights` are those of another network.
    """

    name = "VGG"
    channels = (3,)

    def __init__(
        self, weights: Mapping[str, Tensor], *, network: VGG = "vgg19", layer: str = "conv5_4"
    ) -> None:
        super().__init__()
        self.network = vgg(network, layer).with_weights(weights)
        self.smallest_side = 1 << int(layer[4]) - 1

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean squared difference of the activations."""
        (restored,) = self.network(self._scaled(x))
        with torch.no_grad():
            (target,) = self.network(self._scaled(y))
        return F.mse_loss(restored, target)

    def _scaled(self, image: Tensor) -> Tensor:
        return scaled(image.to(self.network.dtype), MEAN, DEVIATION)
