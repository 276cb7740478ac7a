"""What a restoration network minimises, as a spec: one loss, a weighted sum, or a schedule.

    {"kind": "mix"}
    {"kind": "sum", "terms": [{"weight": 1, "loss": {"kind": "l2"}},
                              {"weight": 0.1, "loss": {"kind": "mdf", "loss_id": "loss_…"}}]}
    {"kind": "schedule", "stages": [{"until": 1200, "loss": {"kind": "l1"}},
                                    {"loss": {"kind": "l2"}}]}

A schedule stands at the top only; sums may hold sums. Nothing here imports torch before `build`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from services.errors import BadInputError
from services.exact import Exact

if TYPE_CHECKING:
    from torch import nn

    from models.losses import Objective

MAX_TERMS = 16
MAX_STAGES = 16
MAX_DEPTH = 4  # sums within sums
MAX_WEIGHT = 1e6

WANG_WINDOW = 11  # px, at every level of the pyramid
VGG_SMALLEST_SIDE = 16  # px: four poolings
ALEXNET_SMALLEST_SIDE = 31  # px: a stride of 4 and two poolings of 3 px by 2


def _odd(side: int) -> int:
    if side % 2 == 0:
        raise ValueError(f"a window has an odd side: {side - 1} or {side + 1} instead of {side}")
    return side


OddSide = Annotated[int, Field(ge=3, le=255), AfterValidator(_odd)]


class _Spec(Exact):
    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Sources:
    """Where the trained losses come from.

    Args:
        losses: the catalogue's, by loss id.
        perceptual_weights: folder with the weights of VGG and LPIPS; None: by torchvision.
    """

    losses: Mapping[str, nn.Module]
    perceptual_weights: Path | None = None


class _Loss(_Spec, ABC):
    """A loss that compares the restored image with its target."""

    @abstractmethod
    def module(self, sources: Sources) -> nn.Module:
        """The loss in torch; BadInputError if `sources` do not hold what it was trained to."""

    @property
    def smallest_patch(self) -> int:
        """Smallest side of the images that it takes, px."""
        return 1

    @property
    def needs_colour(self) -> bool:
        """Whether it takes images of three channels only."""
        return False


class L1(_Loss):
    """Mean absolute difference."""

    kind: Literal["l1"] = "l1"

    def module(self, sources: Sources) -> nn.Module:  # noqa: ARG002 - needs none
        """The loss in torch."""
        from models import losses

        return losses.L1()


class L2(_Loss):
    """Mean squared difference."""

    kind: Literal["l2"] = "l2"

    def module(self, sources: Sources) -> nn.Module:  # noqa: ARG002 - needs none
        """The loss in torch."""
        from models import losses

        return losses.L2()


class Charbonnier(_Loss):
    """A smooth L1: √(difference² + ε²), averaged."""

    kind: Literal["charbonnier"] = "charbonnier"
    epsilon: Annotated[
        float, Field(ge=1e-6, le=1, description="ε: differences well below it count as squares")
    ] = 1e-3

    def module(self, sources: Sources) -> nn.Module:  # noqa: ARG002 - needs none
        """The loss in torch."""
        from models import losses

        return losses.Charbonnier(epsilon=self.epsilon)


class Ssim(_Loss):
    """1 − SSIM with a Gaussian window, at the positions where the window lies in the image."""

    kind: Literal["ssim"] = "ssim"
    sigma: Annotated[
        float,
        Field(ge=0.3, le=32, description="σ of the window, px; 1.5 is customary, Zhao has 5 and 9"),
    ] = 1.5
    window: Annotated[
        OddSide | None, Field(description="side of the window, px, odd; default: cut at 3.5 σ")
    ] = None

    @property
    def side(self) -> int:
        """Side of the window, px."""
        return self.window if self.window is not None else 2 * int(3.5 * self.sigma + 0.5) + 1

    @property
    def smallest_patch(self) -> int:
        """The window."""
        return self.side

    def module(self, sources: Sources) -> nn.Module:  # noqa: ARG002 - needs none
        """The loss in torch."""
        from models import losses

        return losses.SSIM(sigma=self.sigma, window=self.side)


class MsSsim(_Loss):
    """1 − MS-SSIM.

    Zhao's form has five windows (σ 0.5, 1, 2, 4, 8) on the image at full size, Wang's one window
    on a pyramid of halved images.
    """

    kind: Literal["ms_ssim"] = "ms_ssim"
    form: Annotated[Literal["zhao", "wang"], Field(description="which of the two forms")] = "zhao"
    window: Annotated[
        OddSide,
        Field(
            description="zhao: side at which all windows are cut, px, odd; 31 is that of the "
            "paper's patches"
        ),
    ] = 31
    levels: Annotated[
        int,
        Field(
            ge=1,
            le=5,
            description="wang: levels of the pyramid; below 5 the weights of the first "
            "ones are scaled to sum to 1",
        ),
    ] = 5

    @property
    def smallest_patch(self) -> int:
        """Zhao's window, or Wang's at the smallest level."""
        return self.window if self.form == "zhao" else WANG_WINDOW << self.levels - 1

    def module(self, sources: Sources) -> nn.Module:  # noqa: ARG002 - needs none
        """The loss in torch."""
        from models import losses

        if self.form == "zhao":
            return losses.MSSSIM(window=self.window)
        return losses.PyramidMSSSIM(levels=self.levels)

    @model_validator(mode="after")
    def _check(self) -> Self:
        other = {"zhao": "levels", "wang": "window"}[self.form]
        if getattr(self, other) != type(self).model_fields[other].default:
            raise ValueError(f"`{other}` is no setting of the form '{self.form}'; leave it out")
        return self


class Mix(_Loss):
    """α · (1 − MS-SSIM) + (1 − α) · G·L1, MS-SSIM in Zhao's form (Zhao et al. 2017, eq. 14)."""

    kind: Literal["mix"] = "mix"
    alpha: Annotated[
        float,
        Field(ge=0, le=1, description="α: 0.84 in the paper, 0.025 in the authors' released layer"),
    ] = 0.84
    window: Annotated[
        OddSide,
        Field(
            description="side at which all windows are cut, px, odd; 31 is that of the paper's "
            "patches"
        ),
    ] = 31

    @property
    def smallest_patch(self) -> int:
        """The window."""
        return self.window

    def module(self, sources: Sources) -> nn.Module:  # noqa: ARG002 - needs none
        """The loss in torch."""
        from models import losses

        return losses.Mix(alpha=self.alpha, window=self.window)


class Mdf(_Loss):
    """A loss of the catalogue (Mustafa et al. 2022)."""

    kind: Literal["mdf"] = "mdf"
    loss_id: Annotated[str, Field(min_length=1, max_length=100, description="of the loss")]
    digest: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{64}$",
            description="SHA-256 of its safetensors file; filled in when the job is submitted",
        ),
    ] = None

    @property
    def needs_colour(self) -> bool:
        """Always."""
        return True

    def module(self, sources: Sources) -> nn.Module:
        """The loss in torch."""
        if self.loss_id not in sources.losses:
            loaded = ", ".join(sorted(sources.losses)) or "none"
            raise BadInputError(f"the loss {self.loss_id} is not loaded; loaded: {loaded}")
        return sources.losses[self.loss_id]


class Vgg(_Loss):
    """Mean squared difference of a VGG's features; used together with `l2`."""

    kind: Literal["vgg"] = "vgg"
    network: Annotated[Literal["vgg16", "vgg19"], Field(description="which VGG")] = "vgg19"
    layer: Annotated[
        str,
        Field(
            pattern=r"^(conv|relu)[1-5]_[1-4]$",
            description="whose output is compared: `conv5_4`, before its ReLU, or `relu5_4`, after",
        ),
    ] = "conv5_4"

    @property
    def smallest_patch(self) -> int:
        """Halved before every block of layers but the first."""
        return 1 << int(self.layer[4]) - 1

    @property
    def needs_colour(self) -> bool:
        """Always."""
        return True

    def module(self, sources: Sources) -> nn.Module:
        """The loss in torch."""
        from services.phase2 import perceptual

        return perceptual.vgg_loss(self.network, self.layer, sources.perceptual_weights)

    @model_validator(mode="after")
    def _check(self) -> Self:
        block, number = int(self.layer[4]), int(self.layer[6])
        last = 2 if block < 3 else {"vgg16": 3, "vgg19": 4}[self.network]
        if number > last:
            raise ValueError(
                f"`layer` is {self.layer}; block {block} of {self.network} ends with "
                f"{self.layer[:4]}{block}_{last}"
            )
        return self


class Lpips(_Loss):
    """Learned perceptual image patch similarity, version 0.1; used together with `l2`."""

    kind: Literal["lpips"] = "lpips"
    network: Annotated[Literal["alex", "vgg"], Field(description="whose features are compared")] = (
        "alex"
    )

    @property
    def smallest_patch(self) -> int:
        """What the network's poolings leave a pixel of."""
        return ALEXNET_SMALLEST_SIDE if self.network == "alex" else VGG_SMALLEST_SIDE

    @property
    def needs_colour(self) -> bool:
        """Always."""
        return True

    def module(self, sources: Sources) -> nn.Module:
        """The loss in torch."""
        from services.phase2 import perceptual

        return perceptual.lpips(self.network, sources.perceptual_weights)


class RelativisticGan(_Spec):
    """The generator's part of a relativistic average GAN (ESRGAN, Wang et al. 2018, eq. 2).

    It needs a discriminator beside the network, and stands in a sum with another loss.
    """

    kind: Literal["relativistic_gan"] = "relativistic_gan"


Single = L1 | L2 | Charbonnier | Ssim | MsSsim | Mix | Mdf | Vgg | Lpips


class Term(_Spec):
    """A loss in a sum."""

    weight: Annotated[float, Field(gt=0, le=MAX_WEIGHT, description="factor of the loss")] = 1.0
    loss: Annotated[
        Single | RelativisticGan | Sum, Field(discriminator="kind", description="what is added")
    ]


class Sum(_Spec):
    """A weighted sum of losses."""

    kind: Literal["sum"] = "sum"
    terms: Annotated[
        tuple[Term, ...], Field(min_length=1, max_length=MAX_TERMS, description="what is added up")
    ]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if _depth(self) > MAX_DEPTH:
            raise ValueError(f"sums stand in sums more than {MAX_DEPTH} deep; write fewer levels")
        kinds = Counter(loss.kind for _, loss in _weighted(self))
        if kinds.total() > MAX_TERMS:
            raise ValueError(f"{kinds.total()} losses are added up; {MAX_TERMS} are allowed")
        if kinds["relativistic_gan"] > 1:
            raise ValueError(
                "relativistic_gan stands more than once in the sum; there is one discriminator: "
                "add the weights"
            )
        if set(kinds) == {"relativistic_gan"}:
            raise ValueError(
                "relativistic_gan stands alone in the sum; add a loss that compares the restored "
                "image with its target, such as l1"
            )
        return self


class Stage(_Spec):
    """A loss and how long it is used."""

    until: Annotated[
        int | None,
        Field(ge=1, description="first iteration of the next stage, counted from 0; none: the end"),
    ] = None
    loss: Annotated[Single | Sum, Field(discriminator="kind", description="in this stage")]


class Schedule(_Spec):
    """Losses that take turns: each stage's until its iteration (Zhao: L1, then L2)."""

    kind: Literal["schedule"] = "schedule"
    stages: Annotated[
        tuple[Stage, ...], Field(min_length=2, max_length=MAX_STAGES, description="in order")
    ]

    @model_validator(mode="after")
    def _check(self) -> Self:
        *earlier, last = self.stages
        if last.until is not None:
            raise ValueError(
                f"the last stage has `until` {last.until}; it lasts to the end: leave `until` out"
            )
        start = 0
        for number, stage in enumerate(earlier, 1):
            if stage.until is None:
                raise ValueError(f"stage {number} of {len(self.stages)} has no `until`")
            if stage.until <= start:
                raise ValueError(
                    f"stage {number} has `until` {stage.until}; it must be above {start}, where "
                    "the stage starts"
                )
            start = stage.until
        return self

    def at(self, iteration: int) -> Single | Sum:
        """The loss of `iteration`, counted from 0."""
        return next(
            stage.loss for stage in self.stages if stage.until is None or iteration < stage.until
        )


AnyLoss = Annotated[Single | Sum | Schedule, Field(discriminator="kind")]

Term.model_rebuild()


def loss_ids(spec: AnyLoss) -> set[str]:
    """The losses of the catalogue that `spec` uses."""
    return {loss.loss_id for loss in _comparing(spec) if isinstance(loss, Mdf)}


def pinned(spec: AnyLoss, digests: Mapping[str, str]) -> AnyLoss:
    """`spec` with the digest of every loss of the catalogue.

    Args:
        digests: SHA-256 of the loss's safetensors file, by loss id.

    Raises: BadInputError if `spec` names another digest.
    """
    for loss in _comparing(spec):
        if isinstance(loss, Mdf) and loss.digest not in (None, digests[loss.loss_id]):
            raise BadInputError(
                f"{loss.loss_id} has the digest {digests[loss.loss_id]}; the request names "
                f"{loss.digest}. Leave `digest` out to take the loss as it is"
            )

    def pin(value: Any) -> Any:
        if isinstance(value, Mdf):
            return value.model_copy(update={"digest": digests[value.loss_id]})
        if isinstance(value, tuple):
            return tuple(pin(each) for each in value)
        if isinstance(value, Sum | Schedule | Term | Stage):
            fields = {name: pin(getattr(value, name)) for name in type(value).model_fields}
            return value.model_copy(update=fields)
        return value

    pinned_spec: AnyLoss = pin(spec)
    return pinned_spec


def adversarial_weight(spec: AnyLoss, iteration: int) -> float:
    """Weight of the relativistic GAN's term at `iteration`, counted from 0; 0 without one."""
    loss = spec.at(iteration) if isinstance(spec, Schedule) else spec
    weights = (weight for weight, each in _weighted(loss) if isinstance(each, RelativisticGan))
    return next(weights, 0.0)


def is_adversarial(spec: AnyLoss) -> bool:
    """Whether any stage needs a discriminator."""
    return any(
        isinstance(loss, RelativisticGan) for each in _in_turn(spec) for _, loss in _weighted(each)
    )


def smallest_patch(spec: AnyLoss, smallest_sides: Mapping[str, int] | None = None) -> int:
    """Smallest side of the patches that every loss of `spec` takes, px.

    Args:
        smallest_sides: of the catalogue's losses, by loss id; those that are missing are left out.
    """
    known = smallest_sides or {}
    return max(
        known.get(loss.loss_id, 1) if isinstance(loss, Mdf) else loss.smallest_patch
        for loss in _comparing(spec)
    )


def needs_colour(spec: AnyLoss) -> bool:
    """Whether any loss of `spec` takes images of three channels only."""
    return any(loss.needs_colour for loss in _comparing(spec))


def build(
    spec: AnyLoss,
    losses: Mapping[str, nn.Module],
    *,
    perceptual_weights: Path | None = None,
) -> Objective:
    """The module that computes `spec`; its terms are named by kind, a second SSIM `ssim-2`.

    Args:
        losses: the MDF losses that `spec` names, by loss id.
        perceptual_weights: folder with the weights of VGG and LPIPS; without it torchvision
            brings the networks' weights. See `services.phase2.perceptual`.

    Raises:
        BadInputError: a loss of the catalogue is not among `losses`, or the weights of a
            perceptual loss are not to be had.
    """
    from models import losses as modules

    sources = Sources(losses, perceptual_weights)

    def terms(stage: Stage) -> Iterator[modules.Term]:
        seen: Counter[str] = Counter()
        for weight, loss in _weighted(stage.loss):
            seen[loss.kind] += 1
            number = seen[loss.kind]
            name = loss.kind if number == 1 else f"{loss.kind}-{number}"
            module = None if isinstance(loss, RelativisticGan) else loss.module(sources)
            yield modules.Term(name, weight, module)

    stages = spec.stages if isinstance(spec, Schedule) else (Stage(loss=spec),)
    return modules.Objective([modules.Stage(list(terms(stage)), stage.until) for stage in stages])


def comparing(spec: AnyLoss) -> list[list[Single]]:
    """The losses that compare images, of every stage."""
    return [
        [each for _, each in _weighted(loss) if not isinstance(each, RelativisticGan)]
        for loss in _in_turn(spec)
    ]


def _in_turn(spec: AnyLoss) -> list[Single | Sum]:
    """The loss of every stage."""
    return [stage.loss for stage in spec.stages] if isinstance(spec, Schedule) else [spec]


def _comparing(spec: AnyLoss) -> Iterator[Single]:
    """Every loss that compares images, of every stage."""
    return chain.from_iterable(comparing(spec))


def _weighted(
    loss: Single | RelativisticGan | Sum,
) -> Iterator[tuple[float, Single | RelativisticGan]]:
    """The losses of nested sums, each with the product of its weights."""
    if not isinstance(loss, Sum):
        yield 1.0, loss
        return
    for term in loss.terms:
        for weight, each in _weighted(term.loss):
            yield term.weight * weight, each


def _depth(loss: Single | RelativisticGan | Sum) -> int:
    return 1 + max(_depth(term.loss) for term in loss.terms) if isinstance(loss, Sum) else 0
