"""Phase 1, whole: the discriminators of a loss, trained scale by scale on the seed images."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mdf.artefact import Manifest
from mdf.discriminator import Discriminator
from services.determinism import deterministic
from services.distortions import distort
from services.errors import BadInputError, DivergedError
from services.phase1.history import ScaleHistory, activation_map, heat_map, picture, png
from services.phase1.pyramid import build_pyramid
from services.phase1.recipe import Recipe, Task, effective_factor
from services.phase1.scale import Random, Scale
from services.run import FINISHED_EARLY, Canceled, Paused, Run, Signal

SAMPLES = 4  # pictures of the generator's progress in a scale
VALUE_RANGES = {"training": (-1.0, 1.0), "unit": (0.0, 1.0)}
SOFTWARE = ("torch", "numpy", "pillow", "opencv-python-headless")


@dataclass(frozen=True)
class Seed:
    """A seed image: 8-bit RGB pixels (H, W, 3) and their SHA-256."""

    digest: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class TrainedLoss:
    """The frozen discriminators, coarsest first, what they are, and how they came about."""

    manifest: Manifest
    discriminators: list[Discriminator]
    history: list[ScaleHistory]


@dataclass(frozen=True)
class _Trained:
    """What is kept of a trained scale."""

    discriminator: dict[str, Tensor]
    history: ScaleHistory


def train_loss(task: Task, recipe: Recipe, seeds: Sequence[Seed], run: Run) -> TrainedLoss:
    """Train K discriminators for `task` on `seeds`, going on from the run's checkpoint if any.

    With the same arguments on the same machine the result is the same to the last bit, also
    when the run was stopped in between, at any point.

    Raises:
        BadInputError: a seed is too small for the recipe's pyramid.
        DivergedError: a loss or a weight is not finite; the last good checkpoint stays.
        Paused, Canceled: the run asked for it.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with deterministic():
        return _Training(task, recipe, seeds, run, device).to_the_end()


class _Training:
    """The state of a training between two iterations, and the way from one to the next."""

    def __init__(
        self, task: Task, recipe: Recipe, seeds: Sequence[Seed], run: Run, device: torch.device
    ) -> None:
        self._task = task
        self._recipe = recipe
        self._seeds = seeds
        self._run = run
        self._device = device
        self._pipeline = task.pipeline()
        self._pyramids = [
            [level.to(device) for level in build_pyramid(seed.pixels, recipe)] for seed in seeds
        ]
        self._random = Random.seeded(recipe.random_seed, device)
        self._trained: list[_Trained] = []
        self._generator: dict[str, Tensor] = {}  # of the last trained scale
        self._generated: list[Tensor] = []  # its ỹ, of each seed
        self._scale: Scale | None = None

    def to_the_end(self) -> TrainedLoss:
        """Train what is not trained yet."""
        checkpoint = self._run.load_checkpoint()
        if checkpoint is None:
            self._log_pyramids()
        else:
            self._restore(checkpoint)
        while len(self._trained) < self._recipe.scales:
            scale = self._scale = self._scale or self._next_scale()
            if not self._train(scale):
                done, scales = len(self._trained), self._recipe.scales
                self._run.log(f"{FINISHED_EARLY}with {done} of {scales} scales")
                break
            self._finish(scale)
        return self._result()

    def _train(self, scale: Scale) -> bool:
        """Iterate `scale` to its end; False if the run asks to finish without it."""
        while scale.iteration < self._recipe.iterations:
            match self._run.poll():
                case Signal.CANCEL:
                    raise Canceled
                case Signal.PAUSE:
                    self._save()
                    raise Paused
                case Signal.CHECKPOINT:
                    self._save()
                case Signal.FINISH if self._trained:
                    return False
            scale.iterate()
            self._report(scale)
        return True

    def _report(self, scale: Scale) -> None:
        number, step, steps = scale.index + 1, scale.iteration, self._recipe.iterations
        self._run.progress(scale=number, scales=self._recipe.scales, step=step, steps=steps)
        values = scale.point()
        if values is not None:
            if not np.isfinite(list(values.values())).all():
                raise self._diverged(scale)
            self._run.metrics(scale=number, step=step, values=values)
        if step < steps and step % -(-steps // SAMPLES) == 0:
            self._sample(scale, "generated", picture(scale.fake))

    def _finish(self, scale: Scale) -> None:
        """Freeze `scale`, generate the next one's input, and keep what is to be looked at."""
        if not scale.is_finite():
            raise self._diverged(scale)
        scale.freeze()
        self._generated = scale.generate()
        history = ScaleHistory(
            seed=picture(self._pyramids[0][scale.index]),
            generated=picture(self._generated[0]),
            activations=activation_map(scale.discriminator(self._generated[0])),
            curves=scale.curves.numpy(),
        )
        self._trained.append(_Trained(scale.discriminator.state_dict(), history))
        self._generator = scale.generator.state_dict()
        self._scale = None
        self._sample(scale, "seed", history.seed)
        self._sample(scale, "generated", history.generated)
        self._sample(scale, "map", heat_map(history.activations))
        self._save()

    def _next_scale(self) -> Scale:
        scale = self._new_scale()
        if self._trained and self._recipe.warm_start:
            scale.warm_start(self._trained[-1].discriminator, self._generator)
        return scale

    def _new_scale(self) -> Scale:
        """The scale after the finished ones, with weights drawn at random."""
        index = len(self._trained)
        levels = [pyramid[index] for pyramid in self._pyramids]
        return Scale(
            index=index,
            recipe=self._recipe,
            seeds=levels,
            inputs=self._upsampled(levels) if index > 0 else levels,
            distort=self._distort,
            random=self._random,
        )

    def _upsampled(self, levels: Sequence[Tensor]) -> list[Tensor]:
        return [
            F.interpolate(image, size=level.shape[-2:], mode="bicubic", align_corners=False)
            for image, level in zip(self._generated, levels, strict=True)
        ]

    @torch.no_grad()
    def _distort(self, image: Tensor) -> Tensor:
        """Add zᵏ; distortions work on [0, 1]."""
        if not self._pipeline:
            return image
        return distort((image + 1) / 2, self._pipeline, self._random.device) * 2 - 1

    def _result(self) -> TrainedLoss:
        recipe = self._recipe
        manifest = Manifest(
            origin="trained",
            task=self._task.model_dump(mode="json"),
            recipe=recipe.model_dump(mode="json"),
            widths=tuple(recipe.width_at(scale) for scale in range(len(self._trained))),
            layers=recipe.layers,
            padding=recipe.padding,
            taps=recipe.taps,
            value_range=VALUE_RANGES[recipe.value_range],
            seeds=tuple(seed.digest for seed in self._seeds),
            random_seed=recipe.random_seed,
            iterations=(recipe.iterations,) * len(self._trained),
            software={name: version(name) for name in ("mdf", *SOFTWARE)},
        )
        return TrainedLoss(
            manifest=manifest,
            discriminators=manifest.discriminators([each.discriminator for each in self._trained]),
            history=[each.history for each in self._trained],
        )

    def _save(self) -> None:
        """Save a checkpoint, unless it would replace a good one by one that is not finite."""
        scale = self._scale
        if scale is not None and not scale.is_finite():
            raise self._diverged(scale)
        state = {
            "identity": self._identity(),
            "device": self._device.type,
            "host_random": self._random.host.get_state(),
            "device_random": self._random.device.get_state(),
            "trained": [(each.discriminator, each.history.to_state()) for each in self._trained],
            "generator": self._generator,
            "generated": self._generated,
            "scale": None if scale is None else scale.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self._run.save_checkpoint(buffer.getvalue())

    def _restore(self, checkpoint: bytes) -> None:
        state = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
        if state["identity"] != self._identity():
            raise BadInputError(
                "the checkpoint is of a training with another task, recipe or seed image: "
                "start without it, or with what it was made with"
            )
        self._trained = [
            _Trained(discriminator, ScaleHistory.from_state(history))
            for discriminator, history in state["trained"]
        ]
        self._generator = state["generator"]
        self._generated = [image.to(self._device) for image in state["generated"]]
        if state["scale"] is not None:
            self._scale = self._new_scale()
            self._scale.load_state_dict(state["scale"])
        self._random.host.set_state(state["host_random"])
        if state["device"] == self._device.type:  # a CPU and a GPU draw different numbers
            self._random.device.set_state(state["device_random"])
        done = 0 if self._scale is None else self._scale.iteration
        self._run.log(
            f"resumed: {len(self._trained)} scales trained, {done} iterations of the next"
        )

    def _identity(self) -> str:
        """What a checkpoint must agree with to be gone on from."""
        parts = {
            "task": self._task.model_dump(mode="json"),
            "recipe": self._recipe.model_dump(mode="json"),
            "seeds": [seed.digest for seed in self._seeds],
        }
        return json.dumps(parts, sort_keys=True)

    def _diverged(self, scale: Scale) -> DivergedError:
        return DivergedError(
            f"scale {scale.index + 1} of {self._recipe.scales} diverged before iteration "
            f"{scale.iteration}: a loss or a weight is not finite. The last good checkpoint is "
            f"kept; a smaller `learning_rate` (now {self._recipe.learning_rate:g}) may help"
        )

    def _sample(self, scale: Scale, kind: str, pixels: NDArray[np.uint8]) -> None:
        self._run.sample(scale=scale.index + 1, step=scale.iteration, kind=kind, png=png(pixels))

    def _log_pyramids(self) -> None:
        for seed, pyramid in zip(self._seeds, self._pyramids, strict=True):
            sides = [f"{level.shape[-1]}×{level.shape[-2]}" for level in pyramid]
            factor = effective_factor(self._recipe, min(pyramid[-1].shape[-2:]))
            self._run.log(
                f"seed {seed.digest[:12]}: ρ = {factor:.4g}, scales {', '.join(sides)} px"
            )
