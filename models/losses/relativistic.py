"""The relativistic average GAN of ESRGAN (Wang et al. 2018, section 3.2, equations 1 and 2).

A discriminator's raw output C says how real an image looks; D(a, b) = σ(C(a) − E[C(b)]) says how
much more real `a` looks than the average of `b`.
"""

from torch import Tensor
from torch.nn import functional as F


def relativistic_discriminator(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """−E[log D(real, fake)] − E[log(1 − D(fake, real))], a scalar.

    Args:
        on_real, on_fake: C of the originals and of restored images without a graph, (N, …).
    """
    real, fake = _relative(on_real, on_fake)
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def relativistic_generator(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """−E[log(1 − D(real, fake))] − E[log D(fake, real)], a scalar.

    Args:
        on_real, on_fake: C of the originals, without a graph, and of the restored images, (N, …).
    """
    real, fake = _relative(on_real, on_fake)
    return F.softplus(real).mean() + F.softplus(-fake).mean()


def _relative(on_real: Tensor, on_fake: Tensor) -> tuple[Tensor, Tensor]:
    return on_real - on_fake.mean(), on_fake - on_real.mean()
