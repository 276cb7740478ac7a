"""The MDF loss (Mustafa et al. 2022, section 3.2, equation 2).

    L(x, x̃) = Σₖ Σₗ ‖φₗᵏ(x) − φₗᵏ(x̃)‖²

φₗᵏ are the activations of the discriminator of scale k at tap l. Every discriminator sees the
image at full size. As in the authors' code each term is a mean over channels, height and width,
and the sum over scales and taps is averaged over the batch.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mdf.artefact import Manifest, Taps
from mdf.discriminator import NEGATIVE_SLOPE, Discriminator, smallest_side
from mdf.errors import MDFError, ShapeError

# Pixels that go through a discriminator together: enough to keep the device busy, few enough to
# stay in the cache of a CPU and in a small part of a GPU's memory.
CPU_PIXELS = 256 * 256
DEVICE_PIXELS = 1024 * 1024


@dataclass(frozen=True, eq=False)
class DifferenceMap:
    """Where two images differ to one tap of one discriminator.

    `map`, (N, h, w), is the squared difference of the activations, averaged over channels; its
    mean is the tap's share of the loss. Scale 0 is the coarsest.
    """

    scale: int
    tap: str
    map: Tensor


class MDFLoss(nn.Module):
    """The MDF loss with trained, frozen discriminators.

    It is always in evaluation mode, has no parameters and adds nothing to the state dict of a
    module that holds it. Read one with `mdf.load_loss`.

    Args:
        manifest: says which taps are compared and which value range the discriminators expect.
        discriminators: of the scales, coarsest first.
        dtype: that the loss computes in, torch.float32 or torch.float64.

    Shape: restored, target (N, 3, H, W) in [0, 1], H and W ≥ `smallest_side`. Returns a scalar.
    Raises: ShapeError if the images cannot be compared.
    """

    manifest: Manifest

    def __init__(
        self,
        manifest: Manifest,
        discriminators: Sequence[Discriminator],
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype is {dtype}; it must be torch.float32 or torch.float64")
        if len(discriminators) != manifest.scales:
            raise ValueError(
                f"{len(discriminators)} discriminators for a manifest of {manifest.scales} scales"
            )
        self.manifest = manifest
        self.scales = nn.ModuleList(
            _FoldedDiscriminator(discriminator, manifest.taps, dtype)
            for discriminator in discriminators
        )
        self.eval()

    @property
    def tap_names(self) -> tuple[str, ...]:
        """The activations that are compared, in the order of `terms` and `features`."""
        return tap_names(self.manifest.layers, self.manifest.taps)

    @property
    def smallest_side(self) -> int:
        """The smallest image side, in pixels, that the loss takes."""
        return smallest_side(self.manifest.layers, self.manifest.padding)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - nn.Module's signature
        """Stay in evaluation mode: the loss is frozen."""
        return super().train(False)

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """The loss of `restored` against `target`; its gradient goes to `restored` only.

        Value and gradient are computed together, a few images and one discriminator at a time,
        and only the gradient is kept. For second derivatives use `terms(…).sum()`.
        """
        self._check(restored, target)
        if torch.is_grad_enabled() and target.requires_grad and not restored.requires_grad:
            raise MDFError(
                "the target requires a gradient and the restored image does not; the gradient "
                "goes to the first argument: call loss(restored, target)"
            )
        value: Tensor = self._value(restored, target.detach())
        return value

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's own lack of types
    def _value(self, restored: Tensor, target: Tensor) -> Tensor:
        if torch.is_grad_enabled() and restored.requires_grad:
            value: Tensor = _ValueWithGradient.apply(restored, target, self)  # type: ignore[no-untyped-call]  # as above
            return value
        return _evaluate(self, restored, target, gradient=False)[0]

    def terms(self, restored: Tensor, target: Tensor) -> Tensor:
        """The share of every scale and tap, (K, L); they sum to the loss.

        Differentiable by plain autograd, any number of times, at the memory that this takes:
        weigh scales or taps with it as you like.
        """
        taps = len(self.tap_names)
        shares = [each.map.mean() for each in self.maps(restored, target)]
        return torch.stack(shares).reshape(-1, taps)

    def maps(self, restored: Tensor, target: Tensor) -> list[DifferenceMap]:
        """One difference map for every scale and tap, coarsest scale first."""
        self._check(restored, target)
        pairs = zip(self._features(restored), self._features(target.detach()), strict=True)
        return [
            DifferenceMap(k, tap, (x - y).square().mean(dim=1))
            for k, (xs, ys) in enumerate(pairs)
            for tap, x, y in zip(self.tap_names, xs, ys, strict=True)
        ]

    def features(self, x: Tensor) -> list[list[Tensor]]:
        """The activations of `x`, (N, 3, H, W) in [0, 1], for every scale and tap."""
        self._check(x, x)
        return self._features(x)

    def _features(self, x: Tensor) -> list[list[Tensor]]:
        with _full_precision(x.device):
            x = self._to_value_range(x)
            return [scale(x) for scale in self.scales]

    def _to_value_range(self, x: Tensor) -> Tensor:
        low, high = self.manifest.value_range
        x = x.to(self._dtype)
        return x if (low, high) == (0.0, 1.0) else x * (high - low) + low

    @property
    def _dtype(self) -> torch.dtype:
        weight: Tensor = next(self.buffers())
        return weight.dtype

    def _check(self, restored: Tensor, target: Tensor) -> None:
        if restored.shape != target.shape:
            raise ShapeError(
                f"restored is {tuple(restored.shape)} and target is {tuple(target.shape)}; "
                "they must have the same shape"
            )
        if restored.ndim != 4 or restored.shape[1] != 3 or restored.shape[0] == 0:
            raise ShapeError(
                f"the images are {tuple(restored.shape)}; they must be (N, 3, H, W): a batch of "
                "RGB images"
            )
        if min(restored.shape[2:]) < self.smallest_side:
            raise ShapeError(
                f"the images are {restored.shape[2]} × {restored.shape[3]} pixels; this loss needs "
                f"at least {self.smallest_side} on each side"
            )
        for image in (restored, target):
            if not image.is_floating_point():
                raise ShapeError(
                    f"the images are {image.dtype}; they must be floating-point numbers in [0, 1]"
                )
        if self._dtype not in (torch.float32, torch.float64):
            raise MDFError(
                f"this loss was cast to {self._dtype}, which is too coarse for differences near "
                "the target; keep it in torch.float32: it takes images of any floating type"
            )


def tap_names(layers: int, taps: Taps) -> tuple[str, ...]:
    """Names of the compared activations of a discriminator.

    "published": behind the head, behind the last body block, and the output (the authors' code).
    "every-relu": behind every LeakyReLU, and the output (the paper).
    """
    body = [f"body.{i}" for i in range(layers - 2)]
    return ("head", *(body[-1:] if taps == "published" else body), "tail")


class _FoldedDiscriminator(nn.Module):
    """A discriminator for inference: its BatchNorm is folded into the convolutions.

    The folding is done in double precision. The weights are buffers that no state dict shows.
    """

    def __init__(self, discriminator: Discriminator, taps: Taps, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = discriminator.layers
        self.padding = int(discriminator.padding == "same")
        names = tap_names(discriminator.layers, taps)
        blocks: dict[str, Any] = {"head": discriminator.head}
        blocks |= {f"body.{i}": block for i, block in enumerate(discriminator.body)}
        folded: list[tuple[Tensor, Any]] = [
            _fold(block.conv, block.norm) for block in blocks.values()
        ]
        folded.append((discriminator.tail.weight, discriminator.tail.bias))
        self.tapped = [name in names for name in (*blocks, "tail")]
        for i, (weight, bias) in enumerate(folded):
            for name, tensor in ((f"weight{i}", weight), (f"bias{i}", bias)):
                self.register_buffer(name, tensor.detach().to(dtype).clone(), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The activations at the taps; x is in the discriminator's value range."""
        activations = []
        for i, tapped in enumerate(self.tapped):
            weight, bias = self.get_buffer(f"weight{i}"), self.get_buffer(f"bias{i}")
            x = F.conv2d(x, weight, bias, padding=self.padding)
            if i < self.layers - 1:
                x = F.leaky_relu(x, NEGATIVE_SLOPE, inplace=True)
            if tapped:
                activations.append(x)
        return activations


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of one convolution that does what `conv` and then `norm` do, as float64."""
    assert norm.running_mean is not None  # noqa: S101 - a Block's norm tracks its statistics
    assert norm.running_var is not None  # noqa: S101
    assert conv.bias is not None  # noqa: S101 - a Block's convolution has a bias
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    weight = conv.weight.double() * gain[:, None, None, None]
    bias = (conv.bias.double() - norm.running_mean.double()) * gain + norm.bias.double()
    return weight, bias


def _full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Leaves the caller's autocast region, if there is one."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


class _ValueWithGradient(torch.autograd.Function):
    """The loss as one node of the graph that keeps the gradient and nothing else."""

    @staticmethod
    def forward(ctx: Any, restored: Tensor, target: Tensor, loss: MDFLoss) -> Tensor:
        value, gradient = _evaluate(loss, restored, target, gradient=True)
        ctx.save_for_backward(gradient, restored)
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        gradient, restored = ctx.saved_tensors
        scaled = gradient * upstream.to(gradient.dtype)
        return _FirstDerivative.apply(scaled, restored), None, None  # type: ignore[no-untyped-call]  # as above


class _FirstDerivative(torch.autograd.Function):
    """Passes a gradient on and refuses to be differentiated: it is a constant to autograd."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, restored: Tensor) -> Tensor:  # noqa: ARG004 - a link
        return gradient

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:  # noqa: ARG004 - autograd's signature
        raise MDFError(
            "MDFLoss computes its value and first derivative only; for second derivatives use "
            "loss.terms(restored, target).sum(), which has the same value"
        )


def _evaluate(
    loss: MDFLoss, restored: Tensor, target: Tensor, *, gradient: bool
) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient by `restored` if wanted (else an empty tensor).

    A few images go through one discriminator at a time, the target's without a graph.
    """
    count, _, height, width = restored.shape
    pixels = CPU_PIXELS if restored.device.type == "cpu" else DEVICE_PIXELS
    together = max(1, pixels // (height * width))
    device = restored.device
    with torch.no_grad(), _full_precision(device):
        value = torch.zeros((), dtype=loss._dtype, device=device)
        total = torch.zeros_like(restored, dtype=loss._dtype) if gradient else value.new_empty(0)
        for start in range(0, count, together):
            part = slice(start, start + together)
            y = loss._to_value_range(target[part])
            x = loss._to_value_range(restored[part]).detach().requires_grad_(gradient)
            for scale in loss.scales:
                expected = scale(y)
                with torch.set_grad_enabled(gradient):
                    shares = [
                        F.mse_loss(a, b, reduction="sum") / (count * b[0].numel())
                        for a, b in zip(scale(x), expected, strict=True)
                    ]
                    share = torch.stack(shares).sum()
                if gradient:
                    total[part] += torch.autograd.grad(share, x)[0]
                value += share.detach()
        low, high = loss.manifest.value_range
        return value, (total * (high - low)).to(restored.dtype)
