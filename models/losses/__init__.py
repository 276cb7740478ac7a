"""The losses that restoration networks are trained with, beside the MDF loss of the library."""

from models.losses.mix import Mix
from models.losses.objective import Objective, Stage, Term, WeightedSum
from models.losses.pixelwise import L1, L2, Charbonnier
from models.losses.ssim import MSSSIM, SSIM, PyramidMSSSIM

__all__ = [
    "L1",
    "L2",
    "MSSSIM",
    "SSIM",
    "Charbonnier",
    "Mix",
    "Objective",
    "PyramidMSSSIM",
    "Stage",
    "Term",
    "WeightedSum",
]
