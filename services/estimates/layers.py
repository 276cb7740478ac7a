"""The convolutions of every network that is trained or trained against, from its spec alone."""

from collections.abc import Iterator
from itertools import pairwise

from services.estimates.work import Layer
from services.restorers.networks import (
    AnyNetwork,
    DnCnn,
    Edsr,
    MsrResNet,
    RrdbNet,
    SrCnn,
    SrResNet,
    ZhaoNet,
)

# Channels of VGG's blocks; before each but the first the image is halved.
_VGG = (64, 128, 256, 512, 512)
_VGG_CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
# AlexNet's convolutions: kernel, channels in and out, and what the image was divided by.
_ALEXNET = (
    (11, 3, 64, 4),
    (5, 64, 192, 8),
    (3, 192, 384, 16),
    (3, 384, 256, 16),
    (3, 256, 256, 16),
)
_FACTORS = {1: (), 2: (2,), 3: (3,), 4: (2, 2)}  # steps of an enlargement


def discriminator(
    channels: int, layers: int, padding: str, height: int, width: int
) -> Iterator[Layer]:
    """A discriminator of Phase 1 on an image of that size."""
    shrink = 2 if padding == "valid" else 0
    yield from _chain((3, *(channels,) * (layers - 1), 1), height, width, shrink)


def generator(channels: int, layers: int, height: int, width: int) -> Iterator[Layer]:
    """A generator of Phase 1, which pads its input once by as much as its layers take away."""
    inner = (channels,) * (layers - 1)
    yield from _chain((3, *inner, 3), height + 2 * layers, width + 2 * layers, 2)


def restorer(network: AnyNetwork, height: int, width: int) -> Iterator[Layer]:
    """A restoration network whose result has that size."""
    rows, columns = height // network.scale, width // network.scale
    match network:
        case DnCnn():
            inner = (network.width,) * (network.depth - 1)
            yield from _stack(3, network.channels, (*inner, network.channels), rows, columns)
        case ZhaoNet():
            yield Layer(9, 3, network.width, rows, columns)
            yield Layer(5, network.width, network.width, rows, columns)
            yield Layer(5, network.width, 3, rows, columns)
        case SrCnn():
            first, second = network.widths
            yield Layer(9, network.channels, first, rows, columns)
            yield Layer(network.middle_kernel, first, second, rows, columns)
            yield Layer(5, second, network.channels, rows, columns)
        case Edsr():
            yield Layer(1, 3, 3, rows, columns)  # the mean colour is taken away
            inner = (network.width,) * (2 * network.blocks + 2)
            yield from _stack(3, 3, inner, rows, columns)
            yield from _upsampler(network.width, network.scale, rows, columns)
            yield Layer(3, network.width, 3, height, width)
            yield Layer(1, 3, 3, height, width)
        case SrResNet():
            yield Layer(9, 3, network.width, rows, columns)
            inner = (network.width,) * (2 * network.blocks + 1)
            yield from _stack(3, network.width, inner, rows, columns)
            yield from _upsampler(network.width, network.scale, rows, columns)
            yield Layer(9, network.width, 3, height, width)
        case MsrResNet():
            inner = (network.width,) * (2 * network.blocks + 1)
            yield from _stack(3, network.channels, inner, rows, columns)
            yield from _upsampler(network.width, network.scale, rows, columns)
            yield from _stack(3, network.width, (network.width, network.channels), height, width)
        case RrdbNet():
            yield from _rrdb(network, height, width)


def vgg(name: str, block: int, convolution: int, height: int, width: int) -> Iterator[Layer]:
    """`vgg16` or `vgg19` up to a convolution of a block, both counted from 1."""
    inputs = 3
    for number, (outputs, count) in enumerate(zip(_VGG, _VGG_CONVOLUTIONS[name], strict=True)):
        for place in range(count):
            if (number + 1, place + 1) > (block, convolution):
                return
            yield Layer(3, inputs, outputs, height >> number, width >> number)
            inputs = outputs


def alexnet(height: int, width: int) -> Iterator[Layer]:
    """The convolutions of AlexNet."""
    for kernel, inputs, outputs, divisor in _ALEXNET:
        yield Layer(kernel, inputs, outputs, height // divisor, width // divisor)


def vgg_discriminator(channels: int, width: int, side: int) -> Iterator[Layer]:
    """The discriminator of an adversarial loss: five levels, each of which halves the image."""
    inputs = channels
    for level in range(5):
        outputs = width * min(2**level, 8)
        here, halved = side >> level, side >> level + 1
        yield Layer(3, inputs, outputs, here, here)
        yield Layer(4, outputs, outputs, halved, halved)
        inputs = outputs


def _chain(channels: tuple[int, ...], height: int, width: int, shrink: int) -> Iterator[Layer]:
    for inputs, outputs in pairwise(channels):
        height, width = max(1, height - shrink), max(1, width - shrink)
        yield Layer(3, inputs, outputs, height, width)


def _stack(
    kernel: int, inputs: int, outputs: tuple[int, ...], height: int, width: int
) -> Iterator[Layer]:
    for channels in outputs:
        yield Layer(kernel, inputs, channels, height, width)
        inputs = channels


def _upsampler(channels: int, scale: int, height: int, width: int) -> Iterator[Layer]:
    for factor in _FACTORS[scale]:
        yield Layer(3, channels, channels * factor**2, height, width)
        height, width = height * factor, width * factor


def _rrdb(network: RrdbNet, height: int, width: int) -> Iterator[Layer]:
    rows, columns = height // 4, width // 4
    wide, growth = network.width, network.growth
    folded = network.channels * (4 // network.scale) ** 2
    yield Layer(3, folded, wide, rows, columns)
    for _ in range(3 * network.blocks):
        for place in range(4):
            yield Layer(3, wide + place * growth, growth, rows, columns)
        yield Layer(3, wide + 4 * growth, wide, rows, columns)
    yield Layer(3, wide, wide, rows, columns)
    for factor in (2, 4):
        yield Layer(3, wide, wide, rows * factor, columns * factor)
    yield from _stack(3, wide, (wide, network.channels), rows * 4, columns * 4)
