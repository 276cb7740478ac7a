"""SRCNN (Dong et al. 2014) as Zhao et al. 2017 (section IV-B) changed it: PReLU, and RGB.

It takes an image that is interpolated to the size of the result already.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.restorers import initialisation
from models.restorers.layers import convolution, convolutions
from models.restorers.restorer import Restorer


class SRCNN(Restorer):
    """Patch extraction 9×9, non-linear mapping, reconstruction 5×5.

    Args:
        channels: of the image, 1 or 3.
        widths: channels of the two features.
        middle_kernel: side of the mapping's kernel, px: 1 (the paper's default), 3 or 5.
    """

    kind: ClassVar[str] = "srcnn"

    def __init__(
        self, *, channels: int = 3, widths: Sequence[int] = (64, 32), middle_kernel: int = 1
    ) -> None:
        first, second = widths
        super().__init__(
            {"channels": channels, "widths": [first, second], "middle_kernel": middle_kernel},
            channels=channels,
            receptive_radius=4 + middle_kernel // 2 + 2,
            features_bytes=4 * (2 * first + second),
        )
        self.conv1 = convolution(channels, first, 9)
        self.prelu1 = nn.PReLU()
        self.conv2 = convolution(first, second, middle_kernel)
        self.prelu2 = nn.PReLU()
        self.conv3 = convolution(second, channels, 5)

    def draw(self, generator: torch.Generator) -> None:
        """Weights ~ N(0, 0.001²), biases 0 (Dong et al., section 3.2)."""
        for layer in convolutions(self):
            initialisation.gaussian(layer, generator, std=0.001)
        initialisation.neutral(self)

    def features(self, image: Tensor) -> Tensor:
        """(N, channels, H, W) → the same: the restored image."""
        restored: Tensor = self.conv3(self.prelu2(self.conv2(self.prelu1(self.conv1(image)))))
        return restored
