"""Objectives of a patch discriminator D and its generator, as mean values over D's map.

WGAN-GP (Gulrajani et al. 2017) in the form of SinGAN: the norm of the gradient is taken over the
colour channels, pixel by pixel. BCE: activations pushed to 1 on the seed and to 0 on generated
images, as the text of Mustafa et al. 2022 has it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Critic = Callable[[Tensor], Tensor]


class DiscriminatorTerms(NamedTuple):
    """What a discriminator minimises: the sum of three scalars."""

    real: Tensor
    fake: Tensor
    gradient_penalty: Tensor


def wgan_gp(
    critic: Critic, real: Tensor, fake: Tensor, *, weight: float, generator: torch.Generator
) -> DiscriminatorTerms:
    """−E[D(real)] + E[D(fake)] + weight · E[(‖∇D‖ − 1)²]; three forwards of `critic`.

    Args:
        real, fake: (N, C, H, W) of equal shapes; `fake` without a graph.
        weight: λ of the gradient penalty.
        generator: on the images' device, draws where the gradient is taken between the two.
    """
    on_real = critic(real)
    on_fake = critic(fake)
    penalty = gradient_penalty(critic, real, fake, generator=generator)
    return DiscriminatorTerms(-on_real.mean(), on_fake.mean(), weight * penalty)


def gradient_penalty(
    critic: Critic, real: Tensor, fake: Tensor, *, generator: torch.Generator
) -> Tensor:
    """E[(‖∇D(x)‖ − 1)²] at a random x on the line from `fake` to `real`, one x per image."""
    share = torch.rand(
        (real.shape[0], 1, 1, 1), generator=generator, device=real.device, dtype=real.dtype
    )
    between = torch.lerp(fake, real, share).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norm = torch.linalg.vector_norm(gradient, dim=1)
    return F.mse_loss(norm, torch.ones_like(norm))


def bce(critic: Critic, real: Tensor, fake: Tensor) -> DiscriminatorTerms:
    """Cross entropy of the activations' sigmoid: 1 on `real`, 0 on `fake`; two forwards."""
    on_real, on_fake = critic(real), critic(fake)
    return DiscriminatorTerms(
        F.softplus(-on_real).mean(), F.softplus(on_fake).mean(), on_real.new_zeros(())
    )


def wgan_generator(on_fake: Tensor) -> Tensor:
    """−E[D(fake)]."""
    return -on_fake.mean()


def bce_generator(on_fake: Tensor) -> Tensor:
    """Cross entropy of the activations' sigmoid with 1 (the non-saturating form)."""
    return F.softplus(-on_fake).mean()
