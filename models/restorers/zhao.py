"""The network of Zhao et al. 2017 (section IV) for demosaicking with denoising, and for JPEG."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.restorers import initialisation
from models.restorers.layers import convolution
from models.restorers.restorer import Restorer


class ZhaoNet(Restorer):
    """Convolutions 64×9×9×3, 64×5×5×64 and 3×5×5×64, the first two with PReLU.

    Args:
        width: channels in between.
    """

    kind: ClassVar[str] = "zhao"

    def __init__(self, *, width: int = 64) -> None:
        super().__init__(
            {"width": width}, channels=3, receptive_radius=4 + 2 + 2, features_bytes=4 * 3 * width
        )
        self.conv1 = convolution(3, width, 9)
        self.prelu1 = nn.PReLU()
        self.conv2 = convolution(width, width, 5)
        self.prelu2 = nn.PReLU()
        self.conv3 = convolution(width, 3, 5)

    def draw(self, generator: torch.Generator) -> None:
        """The paper says nothing: as He et al. 2015, who brought PReLU."""
        initialisation.he_normal(self, generator)
        initialisation.neutral(self)

    def features(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) → the same: the restored image."""
        restored: Tensor = self.conv3(self.prelu2(self.conv2(self.prelu1(self.conv1(image)))))
        return restored
