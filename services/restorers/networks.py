"""The networks that can be trained and imported, as specifications; nothing here imports torch.

Their layers are in `models.restorers`; `build` makes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from services.exact import Exact

if TYPE_CHECKING:
    from models.restorers.restorer import Restorer

Width = Annotated[int, Field(ge=1, le=512, description="channels of the features")]
Colours = Annotated[Literal[1, 3], Field(description="of the image: 1 grey, 3 RGB")]


class _Network(Exact):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def build(self) -> Restorer:
        """The network in torch; its weights are not drawn yet (`models.restorers.initialise`)."""
        from models.restorers import create

        return create(**self.model_dump())

    @property
    def multiple(self) -> int:
        """Sides of the image that it takes are multiples of it, px."""
        return 1


class Edsr(_Network):
    """Lim et al. 2017. The defaults are the baseline; the full one is 32 × 256, scaled by 0.1."""

    kind: Literal["edsr"] = "edsr"
    scale: Annotated[Literal[2, 3, 4], Field(description="sides of the result over the input's")]
    blocks: Annotated[int, Field(ge=1, le=64, description="residual blocks")] = 16
    width: Width = 64
    residual_scale: Annotated[
        float, Field(gt=0, le=1, description="factor of each residual; 0.1 for the full network")
    ] = 1.0
    value_range: Annotated[
        Literal[1, 255],
        Field(description="value of white inside the network; 255 in the released weights"),
    ] = 255
    channels: ClassVar[int] = 3


class SrResNet(_Network):
    """Ledig et al. 2017: the generator of SRGAN."""

    kind: Literal["srresnet"] = "srresnet"
    scale: Annotated[Literal[2, 3, 4], Field(description="sides of the result over the input's")]
    blocks: Annotated[int, Field(ge=1, le=64, description="residual blocks")] = 16
    width: Width = 64
    channels: ClassVar[int] = 3


class MsrResNet(_Network):
    """SRResNet without BatchNorm and with a bilinear skip, as Wang et al. 2018 train it."""

    kind: Literal["msrresnet"] = "msrresnet"
    scale: Annotated[Literal[2, 3, 4], Field(description="sides of the result over the input's")]
    channels: Colours = 3
    blocks: Annotated[int, Field(ge=1, le=64, description="residual blocks")] = 16
    width: Width = 64


class DnCnn(_Network):
    """Zhang et al. 2017: predicts what is wrong with the image, and takes it away."""

    kind: Literal["dncnn"] = "dncnn"
    channels: Colours = 3
    depth: Annotated[
        int, Field(ge=3, le=64, description="3×3 convolutions; 17, or 20 for blind denoising")
    ] = 17
    width: Width = 64
    batch_norm: Annotated[
        bool, Field(description="BatchNorm after all convolutions but the first and the last")
    ] = True
    scale: ClassVar[int] = 1


class RrdbNet(_Network):
    """Wang et al. 2018: the generator of ESRGAN; at ×1 and ×2 as Real-ESRGAN, 2021."""

    kind: Literal["rrdbnet"] = "rrdbnet"
    scale: Annotated[Literal[1, 2, 4], Field(description="sides of the result over the input's")]
    channels: Colours = 3
    blocks: Annotated[int, Field(ge=1, le=64, description="residual-in-residual dense blocks")] = 23
    width: Width = 64
    growth: Annotated[
        int, Field(ge=1, le=256, description="channels that each convolution of a block adds")
    ] = 32

    @property
    def multiple(self) -> int:
        """At ×1 and ×2 the image is folded first."""
        return 4 // self.scale


class ZhaoNet(_Network):
    """Zhao et al. 2017, for denoising with demosaicking and for JPEG."""

    kind: Literal["zhao"] = "zhao"
    width: Width = 64
    scale: ClassVar[int] = 1
    channels: ClassVar[int] = 3


class SrCnn(_Network):
    """Dong et al. 2014 as Zhao et al. 2017 changed it: PReLU, and RGB; of an image scaled up."""

    kind: Literal["srcnn"] = "srcnn"
    channels: Colours = 3
    widths: Annotated[
        tuple[Width, Width], Field(description="channels of the first and second features")
    ] = (64, 32)
    middle_kernel: Annotated[
        Literal[1, 3, 5], Field(description="side of the second convolution's kernel, px")
    ] = 1
    scale: ClassVar[int] = 1


AnyNetwork = Annotated[
    Edsr | SrResNet | MsrResNet | DnCnn | RrdbNet | ZhaoNet | SrCnn, Field(discriminator="kind")
]

NETWORK: TypeAdapter[AnyNetwork] = TypeAdapter(AnyNetwork)
