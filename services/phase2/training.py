"""Phase 2, whole: a restoration network trained on a data set, the best weights kept."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdf.loss import MDFLoss
from models.restorers import Restorer
from services.datasets.picture import Picture
from services.determinism import deterministic
from services.errors import BadInputError, DivergedError
from services.phase1.history import png
from services.phase2 import holdout
from services.phase2.degradation import Pair
from services.phase2.history import TrainingHistory
from services.phase2.learner import Learner
from services.phase2.objective import Schedule, build
from services.phase2.patches import Loader, Patches
from services.phase2.recipe import RestorerPlan
from services.phase2.validation import Validation
from services.restorers.manifest import RestorerManifest
from services.run import FINISHED_EARLY, Canceled, Paused, Run, Signal

SAMPLES = 10  # times that the restored validation images are shown in a training, about
LOADING_THREADS = 4  # beside a GPU
SOFTWARE = ("torch", "numpy", "pillow", "opencv-python-headless")


@dataclass(frozen=True)
class TrainedRestorer:
    """The network with its best weights, frozen, what it is, and how it came about."""

    manifest: RestorerManifest
    network: Restorer
    history: TrainingHistory


def train_restorer(
    plan: RestorerPlan,
    pictures: Sequence[Picture],
    validation: Sequence[Picture],
    losses: Mapping[str, MDFLoss],
    run: Run,
    *,
    initial: Restorer | None = None,
    perceptual_weights: Path | None = None,
) -> TrainedRestorer:
    """Train the network of `plan`, going on from the run's checkpoint if there is one.

    With the same arguments on the same machine the result is the same to the last bit, also
    when the run was stopped in between, at any point.

    Args:
        plan: task, network, loss and recipe.
        pictures: to train on.
        validation: to choose the best weights by; if none are given, the last are kept.
        losses: the MDF losses that the plan's loss names, by id.
        run: hears of the progress, and says when to stop.
        initial: a network like the plan's, to start from its weights.
        perceptual_weights: folder with the weights of VGG and LPIPS.

    Raises:
        BadInputError: the images, the loss or the initial network do not suit the plan.
        DivergedError: a loss or a weight is not finite; the last good checkpoint stays.
        Paused, Canceled: the run asked for it.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _check(plan, losses, initial, device)
    with deterministic():
        training = _Training(
            plan,
            pictures=pictures,
            validation=validation,
            losses=losses,
            run=run,
            device=device,
            initial=initial,
            perceptual_weights=perceptual_weights,
        )
        return training.to_the_end()


@dataclass(frozen=True)
class _Best:
    """The weights with the lowest validation loss so far; of the last stage of the objective."""

    stage: int
    iteration: int
    metrics: dict[str, float]
    weights: dict[str, Tensor]  # on the CPU


class _Training:
    """A learner, its data, and what is kept of it."""

    def __init__(
        self,
        plan: RestorerPlan,
        *,
        pictures: Sequence[Picture],
        validation: Sequence[Picture],
        losses: Mapping[str, MDFLoss],
        run: Run,
        device: torch.device,
        initial: Restorer | None,
        perceptual_weights: Path | None,
    ) -> None:
        self._plan = plan
        self._pictures = pictures
        self._held_out = validation
        self._run = run
        self._device = device
        self._initial = initial
        self._patches = Patches(pictures, plan)
        self._iterations = plan.recipe.iterations_on(self._patches.images)
        try:
            plan.check_stages(self._iterations)
        except ValueError as error:
            raise BadInputError(str(error)) from None
        sides = {loss_id: loss.smallest_side for loss_id, loss in losses.items()}
        self._validation = Validation(validation, plan, loss_sides=sides, on_image=run.alive)
        self._objective = build(plan.loss, losses, perceptual_weights=perceptual_weights)
        self._objective.to(device)
        self._learner = Learner(
            plan, self._objective, iterations=self._iterations, device=device, initial=initial
        )
        self._best: _Best | None = None
        self._validations: list[dict[str, float]] = []
        self._degraded: dict[str, float] = {}

    def to_the_end(self) -> TrainedRestorer:
        """Train what is not trained yet."""
        checkpoint = self._run.load_checkpoint()
        if checkpoint is None:
            self._degraded = self._validation.measure_degraded(self._device)
            self._log_data()
        else:
            self._restore(checkpoint)
        threads = LOADING_THREADS if self._device.type == "cuda" else 0
        with Loader(self._patches, threads=threads, end=self._iterations) as loader:
            self._train(loader)
        return self._result()

    def _train(self, loader: Loader) -> None:
        learner = self._learner
        while learner.iteration < self._iterations:
            match self._run.poll():
                case Signal.CANCEL:
                    raise Canceled
                case Signal.PAUSE:
                    self._save()
                    raise Paused
                case Signal.CHECKPOINT:
                    self._save()
                case Signal.FINISH if learner.iteration > 0:
                    self._run.log(f"{FINISHED_EARLY}after {learner.iteration} iterations")
                    break
            batch = loader.batch(learner.iteration)
            learner.iterate(Pair(*(part.to(self._device, non_blocking=True) for part in batch)))
            self._report()
        if not self._validations or self._validations[-1]["iteration"] < learner.iteration:
            self._validate_early_end()

    def _report(self) -> None:
        learner, step = self._learner, self._learner.iteration
        self._run.progress(scale=1, scales=1, step=step, steps=self._iterations)
        values = learner.point() or {}
        if not np.isfinite(list(values.values())).all():
            raise self._diverged()
        if step % self._plan.recipe.validate_every == 0 or step == self._iterations:
            values |= self._validate()
        if values:
            self._run.metrics(scale=1, step=step, values=values)

    def _validate_early_end(self) -> None:
        """Measure what is there, and report it with what was reported of this iteration before."""
        learner, step = self._learner, self._learner.iteration
        point = learner.points[-1] if learner.points else {}
        reported = point if point.get("iteration") == step else {}
        values = {name: value for name, value in reported.items() if name != "iteration"}
        values |= self._validate()
        if values:
            self._run.metrics(scale=1, step=step, values=values)

    def _validate(self) -> dict[str, float]:
        """Measure the network, keep its weights if they are the best; metrics to report."""
        learner, step = self._learner, self._learner.iteration
        if not learner.is_finite():
            raise self._diverged()
        network = learner.evaluated.eval()
        # The loss that the last step has used: at the end of a stage, not yet the next one's.
        measured = self._validation.measure(network, self._objective, step - 1, self._device)
        self._validations.append({"iteration": step, **measured})
        self._keep_if_best(network, measured)
        if self._is_sampled(len(self._validations)):
            self._show(network)
        learner.network.train()
        return {f"validation_{name}": value for name, value in measured.items()}

    def _keep_if_best(self, network: Restorer, measured: dict[str, float]) -> None:
        if not all(map(math.isfinite, measured.values())):
            raise self._diverged()
        stage, best = self._stage(self._learner.iteration - 1), self._best
        if (
            measured
            and best is not None
            and best.stage == stage
            and best.metrics["loss"] <= measured["loss"]
        ):
            return
        weights = {
            name: tensor.detach().to("cpu", copy=True).contiguous()
            for name, tensor in network.state_dict().items()
        }
        self._best = _Best(stage, self._learner.iteration, measured, weights)

    def _stage(self, iteration: int) -> int:
        """Number of the objective's stage: losses of different stages cannot be compared."""
        loss = self._plan.loss
        if not isinstance(loss, Schedule):
            return 0
        return sum(stage.until is not None and iteration >= stage.until for stage in loss.stages)

    def _is_sampled(self, number: int) -> bool:
        every = self._plan.recipe.validate_every
        planned = -(-self._iterations // every)
        return number == 1 or number % -(-planned // SAMPLES) == 0 or number >= planned

    def _show(self, network: Restorer) -> None:
        step = self._learner.iteration
        for number, sample in enumerate(self._validation.samples(network, self._device), 1):
            shown = {"restored": sample.restored}
            if len(self._validations) == 1:  # these do not change
                shown |= {"degraded": sample.degraded, "target": sample.target}
            for name, pixels in shown.items():
                self._run.sample(scale=1, step=step, kind=f"{name}-{number}", png=png(pixels))

    def _result(self) -> TrainedRestorer:
        best, plan = self._best, self._plan
        assert best is not None  # noqa: S101 - a training ends with a validation
        network = plan.network.build()
        network.load_state_dict(best.weights)
        network.to(self._device).eval().requires_grad_(False)
        samples = self._validation.samples(network, self._device)
        manifest = RestorerManifest(
            origin="trained",
            network=plan.network.model_dump(mode="json"),
            task=plan.task.model_dump(mode="json"),
            loss=plan.loss.model_dump(mode="json"),
            dataset=self._dataset(),
            recipe=self._recipe(),
            metrics=self._metrics(best.metrics),
            iterations=best.iteration,
            random_seed=plan.recipe.random_seed,
            software={name: version(name) for name in ("mdf", *SOFTWARE)},
        )
        return TrainedRestorer(
            manifest=manifest,
            network=network.cpu(),
            history=TrainingHistory(
                points=self._learner.points,
                validations=self._validations,
                best=best.iteration,
                degraded=self._degraded,
                samples=samples,
            ),
        )

    def _recipe(self) -> dict[str, Any]:
        """The recipe, and what the training started from if not from weights drawn at random."""
        recipe = self._plan.recipe.model_dump(mode="json")
        if self._initial is not None:
            recipe["start_from"] = _weights_digest(self._initial)
        return recipe

    def _metrics(self, measured: dict[str, float]) -> dict[str, Any]:
        if not measured:
            return {}
        degraded = {f"degraded_{name}": value for name, value in self._degraded.items()}
        return {**measured, **degraded, "images": len(self._validation)}

    def _dataset(self) -> dict[str, Any]:
        described = {"digest": holdout.digest(self._pictures), "images": len(self._pictures)}
        if self._held_out:
            described |= {
                "validation_digest": holdout.digest(self._held_out),
                "validation_images": len(self._held_out),
            }
        return described

    def _save(self) -> None:
        """Save a checkpoint, unless it would replace a good one by one that is not finite."""
        if not self._learner.is_finite():
            raise self._diverged()
        state = {
            "identity": self._identity(),
            "learner": self._learner.state_dict(),
            "best": None if self._best is None else vars(self._best),
            "validations": self._validations,
            "degraded": self._degraded,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self._run.save_checkpoint(buffer.getvalue())

    def _restore(self, checkpoint: bytes) -> None:
        state = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
        if state["identity"] != self._identity():
            raise BadInputError(
                "the checkpoint is of a training with another task, network, loss, recipe or "
                "images: start without it, or with what it was made with"
            )
        self._learner.load_state_dict(state["learner"])
        self._best = None if state["best"] is None else _Best(**state["best"])
        self._validations = state["validations"]
        self._degraded = state["degraded"]
        self._run.log(f"resumed after {self._learner.iteration} of {self._iterations} iterations")

    def _identity(self) -> str:
        """What a checkpoint must agree with to be gone on from."""
        parts = {
            "plan": self._plan.model_dump(mode="json"),
            "pictures": holdout.digest(self._pictures),
            "validation": holdout.digest(self._held_out),
            "initial": None if self._initial is None else _weights_digest(self._initial),
        }
        return json.dumps(parts, sort_keys=True)

    def _diverged(self) -> DivergedError:
        rate = self._plan.recipe.optimiser.learning_rate
        return DivergedError(
            f"the training diverged before iteration {self._learner.iteration} of "
            f"{self._iterations}: a loss or a weight is not finite. The last good checkpoint is "
            f"kept; a smaller `learning_rate` (now {rate:g}) or a `clip_norm` may help"
        )

    def _log_data(self) -> None:
        recipe, patches = self._plan.recipe, self._patches
        held = sum(3 * each.width * each.height for each in self._pictures)
        self._run.log(
            f"{self._iterations} iterations of {recipe.batch} patches of {recipe.patch}² px, of "
            f"{patches.images} images ({held / 2**20:.0f} MiB decoded, of which "
            f"{min(held, recipe.cache_bytes) / 2**20:.0f} MiB are kept in memory)"
        )
        if patches.left_out:
            self._run.log(f"{patches.left_out} images are smaller than a patch and left out")
        if not len(self._validation):
            self._run.log("no image to validate on: the last weights will be kept")
            return
        trained_on = {each.digest for each in self._pictures}
        seen = sum(each.digest in trained_on for each in self._held_out)
        if seen:
            self._run.log(
                f"{seen} of the images to validate on are trained on, too: the metrics are better "
                "than those of other images"
            )
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in self._degraded.items())
        self._run.log(f"{len(self._validation)} validation images, degraded: {metrics}")


def _check(
    plan: RestorerPlan,
    losses: Mapping[str, MDFLoss],
    initial: Restorer | None,
    device: torch.device,
) -> None:
    recipe = plan.recipe
    for loss_id, loss in losses.items():
        if recipe.patch < loss.smallest_side:
            raise BadInputError(
                f"recipe.patch is {recipe.patch} px; the loss {loss_id} compares images of at "
                f"least {loss.smallest_side} px"
            )
    if recipe.precision == "float16" and device.type != "cuda":
        raise BadInputError(
            "precision is float16, which needs a GPU: use float32 or bfloat16 on a CPU"
        )
    if initial is not None:
        expected = plan.network.build()
        ours, theirs = ((each.kind, each.hyperparameters) for each in (expected, initial))
        if ours != theirs:
            raise BadInputError(
                f"the model to start from is a {theirs[0]} of {theirs[1]}, and the network to be "
                f"trained a {ours[0]} of {ours[1]}: give `network` as the model has it"
            )


def _weights_digest(network: Restorer) -> str:
    digest = sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
