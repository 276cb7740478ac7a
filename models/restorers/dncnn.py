"""DnCNN: a deep CNN that predicts the noise (Zhang et al. 2017, figure 1).

Parameters have the names of the authors' later release (cszn/KAIR).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.restorers import initialisation
from models.restorers.layers import convolution
from models.restorers.restorer import Restorer

BATCH_NORM_EPSILON = 1e-4  # of the release
LAST_GAIN = 0.1


class DnCNN(Restorer):
    """image − noise(image): 3×3 convolutions, BatchNorm and ReLU.

    Args:
        channels: of the image, 1 or 3.
        depth: convolutions; 17 for one noise level, 20 for blind denoising and deblocking.
        width: channels in between.
        batch_norm: after all convolutions but the first and the last; off in the released
            weights, where it is merged into the convolutions.
    """

    kind: ClassVar[str] = "dncnn"

    def __init__(
        self, *, channels: int = 3, depth: int = 17, width: int = 64, batch_norm: bool = True
    ) -> None:
        super().__init__(
            {"channels": channels, "depth": depth, "width": width, "batch_norm": batch_norm},
            channels=channels,
            receptive_radius=depth,
            features_bytes=4 * 3 * width,
        )
        layers: list[nn.Module] = [convolution(channels, width), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers.append(convolution(width, width))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width, eps=BATCH_NORM_EPSILON))
            layers.append(nn.ReLU(inplace=True))
        self.model = nn.Sequential(*layers, convolution(width, channels))

    def draw(self, generator: torch.Generator) -> None:
        """As He et al. 2015, which the paper cites; the last layer a tenth as large.

        That is ours: a training then begins near the image itself, not with noise added to it.
        """
        initialisation.he_normal(self, generator)
        initialisation.he_normal(self.model[-1], generator, gain=LAST_GAIN)
        initialisation.neutral(self)

    def features(self, image: Tensor) -> Tensor:
        """(N, channels, H, W) → the same: the restored image."""
        noise: Tensor = self.model(image)
        return image - noise
