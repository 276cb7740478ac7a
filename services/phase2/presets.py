"""The presets: a task, a network, a loss and a recipe that go together. No torch.

`paper-…` is what Mustafa et al. 2022 (section 4) say of their trainings, and where they say
nothing, what the network's own paper or its authors' code has; `zhao-…` is Zhao et al. 2017
(section IV); `quick-…` is for a try on two CPU cores. docs/phase2.md says what is from where.
"""

from dataclasses import dataclass
from typing import Literal

from services.phase1.recipe import Denoising, JpegRestoration
from services.phase2.hyperparameters import (
    GIB,
    Adam,
    Cosine,
    Exponential,
    MultiStep,
    RestorationRecipe,
    Sgd,
)
from services.phase2.objective import (
    L1,
    L2,
    AnyLoss,
    Mix,
    RelativisticGan,
    Sum,
    Term,
    Vgg,
)
from services.phase2.tasks import AnyTask, Demosaicking, SuperResolution
from services.restorers.networks import (
    AnyNetwork,
    DnCnn,
    Edsr,
    RrdbNet,
    SrCnn,
    SrResNet,
    ZhaoNet,
)

PresetName = Literal[
    "paper-edsr-sisr",
    "paper-srresnet-sisr",
    "paper-dncnn-denoising",
    "paper-dncnn-jpeg",
    "paper-esrgan",
    "zhao-demosaicking",
    "zhao-sr",
    "zhao-jpeg",
    "quick-dncnn-denoising",
    "quick-dncnn-jpeg",
    "quick-edsr-sisr",
]


@dataclass(frozen=True)
class Preset:
    """What a training is made of; each part can be replaced by another."""

    task: AnyTask
    network: AnyNetwork
    loss: AnyLoss
    recipe: RestorationRecipe


# As many patches as the networks' authors see in their epochs, of as many images.
_SISR_PATCHES = 20  # EDSR's code: 1000 iterations of 16 patches over 800 images
_DNCNN_PATCHES = 960  # DnCNN's: 3000 iterations of 128 patches over 400 images

_PAPER_SISR = RestorationRecipe(
    patch=96,
    batch=16,
    epochs=500,
    patches_per_image=_SISR_PATCHES,
    optimiser=Adam(learning_rate=1e-3),
    schedule=MultiStep(at=(0.2, 0.4, 0.6, 0.8), decay=0.5),
    cache_bytes=8 * GIB,
)
_ZHAO = RestorationRecipe(
    patch=31,
    batch=64,
    epochs=100,
    patches_per_image=1000,
    optimiser=Adam(learning_rate=1e-4),
    schedule=MultiStep(at=(0.5, 0.75), decay=0.1),
    validate_every=2000,
    validation_crop=256,
)
_QUICK_DNCNN = RestorationRecipe(
    patch=48,
    batch=8,
    iterations=1200,
    optimiser=Adam(learning_rate=2e-3),
    # Adam's second moment remembers a large gradient, such as those of the first weights can be,
    # and takes small steps, for a thousand iterations.
    clip_norm=0.1,
    schedule=Cosine(),
    warmup=50,
    ema=0.98,
    validate_every=250,
    validation_images=8,
    validation_crop=160,
    sample_images=2,
    cache_bytes=GIB // 2,
)

PRESETS: dict[PresetName, Preset] = {
    "paper-edsr-sisr": Preset(
        task=SuperResolution(factor=4),
        network=Edsr(scale=4),
        loss=L1(),
        recipe=_PAPER_SISR,
    ),
    "paper-srresnet-sisr": Preset(
        task=SuperResolution(factor=4),
        network=SrResNet(scale=4),
        loss=L2(),
        recipe=_PAPER_SISR,
    ),
    "paper-dncnn-denoising": Preset(
        task=Denoising(sigma=(0, 55)),
        network=DnCnn(depth=20),
        loss=L2(),
        recipe=RestorationRecipe(
            patch=50,
            batch=128,
            epochs=50,
            patches_per_image=_DNCNN_PATCHES,
            optimiser=Sgd(learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
            schedule=Exponential(final=1e-4),
            # Ours: the step of 0.1 is beyond what the last, unnormalised layer stands at first.
            clip_norm=0.1,
            validate_every=3000,
            cache_bytes=8 * GIB,
        ),
    ),
    "paper-dncnn-jpeg": Preset(
        task=JpegRestoration(quality=10),
        network=DnCnn(depth=20),
        loss=L2(),
        recipe=RestorationRecipe(
            patch=50,
            batch=128,
            epochs=50,
            patches_per_image=_DNCNN_PATCHES,
            optimiser=Adam(learning_rate=1e-4),
            validate_every=3000,
            cache_bytes=8 * GIB,
        ),
    ),
    "paper-esrgan": Preset(
        task=SuperResolution(factor=4),
        network=RrdbNet(scale=4),
        loss=Sum(
            terms=(
                Term(weight=1.0, loss=Vgg(layer="conv5_4")),
                Term(weight=5e-3, loss=RelativisticGan()),
                Term(weight=1e-2, loss=L1()),
            )
        ),
        recipe=RestorationRecipe(
            patch=128,
            batch=16,
            iterations=400_000,
            optimiser=Adam(learning_rate=1e-4),
            schedule=MultiStep(at=(0.125, 0.25, 0.5, 0.75), decay=0.5),
            validate_every=5000,
            cache_bytes=8 * GIB,
        ),
    ),
    "zhao-demosaicking": Preset(
        task=Demosaicking(),
        network=ZhaoNet(),
        loss=Mix(),
        recipe=_ZHAO,
    ),
    "zhao-sr": Preset(
        task=SuperResolution(factor=2, interpolation="bilinear"),
        network=SrCnn(),
        loss=Mix(),
        recipe=_ZHAO.model_copy(update={"patch": 32}),
    ),
    "zhao-jpeg": Preset(
        task=JpegRestoration(quality=25),
        network=ZhaoNet(),
        loss=Mix(),
        recipe=_ZHAO.model_copy(update={"patch_stride": 7}),
    ),
    "quick-dncnn-denoising": Preset(
        task=Denoising(sigma=(0, 55)),
        network=DnCnn(depth=8, width=32, batch_norm=False),
        loss=L2(),
        recipe=_QUICK_DNCNN,
    ),
    "quick-dncnn-jpeg": Preset(
        task=JpegRestoration(quality=10),
        network=DnCnn(depth=8, width=32, batch_norm=False),
        loss=L2(),
        recipe=_QUICK_DNCNN,
    ),
    "quick-edsr-sisr": Preset(
        task=SuperResolution(factor=4),
        network=Edsr(scale=4, blocks=6, width=32, value_range=1),
        loss=L1(),
        recipe=RestorationRecipe(
            patch=96,
            batch=8,
            iterations=1500,
            optimiser=Adam(learning_rate=2e-3),
            schedule=Cosine(),
            warmup=20,
            ema=0.98,
            validate_every=300,
            validation_images=8,
            validation_crop=192,
            sample_images=2,
            cache_bytes=GIB // 2,
        ),
    ),
}
