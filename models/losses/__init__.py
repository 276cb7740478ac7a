"""The losses that restoration networks are trained with, beside the MDF loss of the library."""

from models.losses.lpips import LPIPS
from models.losses.mix import Mix
from models.losses.objective import Objective, Stage, Term, WeightedSum
from models.losses.pixelwise import L1, L2, Charbonnier
from models.losses.relativistic import relativistic_discriminator, relativistic_generator
from models.losses.ssim import MSSSIM, SSIM, PyramidMSSSIM
from models.losses.vgg import VGGLoss

__all__ = [
    "L1",
    "L2",
    "LPIPS",
    "MSSSIM",
    "SSIM",
    "Charbonnier",
    "Mix",
    "Objective",
    "PyramidMSSSIM",
    "Stage",
    "Term",
    "VGGLoss",
    "WeightedSum",
    "relativistic_discriminator",
    "relativistic_generator",
]
