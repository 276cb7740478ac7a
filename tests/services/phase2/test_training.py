import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mdf.artefact import Manifest
from mdf.discriminator import Discriminator, initialise
from mdf.loss import MDFLoss
from models.restorers import VGGDiscriminator
from services.datasets.picture import Picture
from services.errors import BadInputError, DivergedError
from services.phase2.degradation import Pair
from services.phase2.holdout import split
from services.phase2.learner import Learner
from services.phase2.objective import build
from services.phase2.patches import Patches
from services.phase2.recipe import RestorerPlan
from services.phase2.training import TrainedRestorer, train_restorer
from services.restorers.artefact import write_restorer
from services.run import Canceled, Paused, Signal
from tests.waiting import wait_until

Plan = Callable[..., RestorerPlan]
SCRIPT = Path(__file__).with_name("local_restorer.py")

SUM = {
    "kind": "sum",
    "terms": [
        {"weight": 1, "loss": {"kind": "l1"}},
        {"weight": 0.005, "loss": {"kind": "relativistic_gan"}},
    ],
}
STAGES = {
    "kind": "schedule",
    "stages": [{"until": 4, "loss": {"kind": "l1"}}, {"loss": {"kind": "l2"}}],
}
SISR = {
    "task": {"kind": "sisr", "factor": 2},
    "network": {"kind": "edsr", "scale": 2, "blocks": 1, "width": 4},
}


def content(trained: TrainedRestorer) -> bytes:
    """The artefact and everything the contact sheet is drawn from, as bytes."""
    history = trained.history
    pixels = b"".join(
        array.tobytes() for sample in history.samples for array in vars(sample).values()
    )
    curves = repr((history.points, history.validations, history.best, history.degraded))
    return write_restorer(trained.manifest, trained.network) + pixels + curves.encode()


def train(plan: RestorerPlan, pictures: list[Picture], run: Any, **more: Any) -> TrainedRestorer:
    """On all but the first two pictures, which are validated on."""
    return train_restorer(plan, pictures[2:], pictures[:2], more.pop("losses", {}), run, **more)


def loss_of(*, width: int = 4) -> MDFLoss:
    """An MDF loss of one random discriminator."""
    discriminator = Discriminator(width=width, padding="valid")
    initialise(discriminator, torch.Generator().manual_seed(0))
    manifest = Manifest(origin="trained", widths=(width,), iterations=(0,))
    return MDFLoss(manifest, [discriminator])


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"task": {"kind": "jpeg", "quality": 10}},
        {"task": {"kind": "demosaicking"}, "network": {"kind": "zhao", "width": 4}},
        SISR,
        {"task": {"kind": "sisr", "factor": 3}, "network": {"kind": "srcnn", "widths": [4, 4]}},
        {"network": {"kind": "dncnn", "depth": 3, "width": 4, "channels": 1}},
        {"task": {"kind": "custom", "distortions": [{"kind": "webp", "quality": 20}]}},
    ],
    ids=["denoising", "jpeg", "demosaicking", "sisr", "enlarged", "grey", "custom"],
)
def test_every_task_gives_a_restorer(
    parts: dict[str, Any], plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    run = recording()
    trained = train(plan({"patch": 18}, **parts), pictures, run)
    assert trained.manifest.iterations in (3, 6, 8)
    assert not trained.network.training
    assert not any(parameter.requires_grad for parameter in trained.network.parameters())
    scale, channels = trained.network.scale, trained.network.channels
    restored = trained.network(torch.rand(1, channels, 12, 16))
    assert restored.shape == (1, channels, 12 * scale, 16 * scale)
    target = np.asarray(Image.open(io.BytesIO(run.samples[1, 3, "target-1"])))
    assert target.shape[2] == 3
    assert {kind for _, _, kind in run.samples} == {"degraded-1", "restored-1", "target-1"}
    assert trained.history.samples[0].restored.shape == trained.history.samples[0].degraded.shape


@pytest.mark.parametrize(
    ("task", "scale"),
    [({"kind": "denoising"}, 1), ({"kind": "sisr", "factor": 3}, 1), ({"kind": "sisr"}, 2)],
    ids=["denoising", "enlarged", "sisr"],
)
def test_a_network_that_folds_its_image_is_given_sides_that_it_can_fold(
    task: dict[str, Any], scale: int, plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    """The pictures have 72 × 56 px and their centres 50, which neither 4 nor 12 divides."""
    network = {"kind": "rrdbnet", "scale": scale, "blocks": 1, "width": 4, "growth": 2}
    if scale > 1:
        task = {**task, "factor": scale}
    made = plan({"patch": 24, "validation_crop": 50, "iterations": 2}, task=task, network=network)
    run = recording()
    trained = train(made, pictures, run)
    assert trained.network.multiple == 4 // scale
    side = 50 // made.multiple * made.multiple
    assert Image.open(io.BytesIO(run.samples[1, 2, "target-1"])).size == (side, side)


def test_the_manifest_says_what_was_done(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    manifest = train(plan(), pictures, recording()).manifest
    assert manifest.origin == "trained"
    assert manifest.network == {
        "kind": "dncnn",
        "channels": 3,
        "depth": 3,
        "width": 4,
        "batch_norm": True,
    }
    assert manifest.task == {"kind": "denoising", "sigma": [0, 55]}
    assert manifest.loss == {"kind": "l2"}
    assert manifest.recipe == plan().recipe.model_dump(mode="json")
    assert (manifest.dataset["images"], manifest.dataset["validation_images"]) == (3, 2)
    assert manifest.random_seed == 7
    assert manifest.software["torch"] == torch.__version__
    assert set(manifest.metrics) == {
        "loss",
        "psnr",
        "ssim",
        "degraded_psnr",
        "degraded_ssim",
        "images",
    }


def test_the_run_hears_of_progress_metrics_and_samples(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    run = recording()
    schedule = {"schedule": {"kind": "multistep", "at": [0.5], "decay": 0.1}, "clip_norm": 1.0}
    trained = train(plan(schedule), pictures, run)
    assert run.places == [(1, 1, step, 8) for step in range(1, 9)]
    points = {step: values for _, step, values in run.points}
    assert list(points) == list(range(1, 9))
    assert set(points[1]) == {"loss", "l2", "gradient_norm", "learning_rate"}
    assert points[1]["loss"] == points[1]["l2"]
    validated = {"validation_loss", "validation_psnr", "validation_ssim"}
    assert [step for step, values in points.items() if validated <= set(values)] == [3, 6, 8]
    rates = [values["learning_rate"] for values in points.values()]
    assert rates == pytest.approx([1e-3] * 4 + [1e-4] * 4)
    assert {step for _, step, kind in run.samples if kind == "restored-1"} == {3, 6, 8}
    assert {step for _, step, kind in run.samples if kind == "degraded-1"} == {3}
    assert "8 iterations of 4 patches of 16² px, of 3 images" in run.lines[0]
    assert "2 validation images, degraded: psnr" in run.lines[1]
    assert [point["iteration"] for point in trained.history.validations] == [3, 6, 8]


def test_training_restores(plan: Plan, pictures: list[Picture], recording: Any) -> None:
    recipe = {
        "iterations": 200,
        "validate_every": 100,
        "optimiser": {"kind": "adam", "learning_rate": 1e-2},
        "schedule": {"kind": "cosine"},
        "validation_crop": 56,
    }
    network = {"kind": "dncnn", "depth": 4, "width": 12, "batch_norm": False}
    task = {"kind": "denoising", "sigma": 40}
    trained = train(plan(recipe, task=task, network=network), pictures, recording())
    measured = trained.manifest.metrics
    assert measured["degraded_psnr"] == pytest.approx(16.5, abs=0.7)
    assert measured["psnr"] > measured["degraded_psnr"] + 2


def test_the_weights_of_the_lowest_validation_loss_are_kept(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    """The learning rate rises so high in the end that the network becomes worse."""
    recipe = {
        "iterations": 40,
        "validate_every": 10,
        "optimiser": {"kind": "sgd", "learning_rate": 1e-2, "momentum": 0, "nesterov": False},
        "schedule": {"kind": "exponential", "final": 5},
        "clip_norm": 1.0,
    }
    trained = train(plan(recipe), pictures, recording())
    losses = {int(row["iteration"]): row["loss"] for row in trained.history.validations}
    assert list(losses) == [10, 20, 30, 40]
    best = min(losses, key=lambda step: losses[step])
    assert trained.manifest.iterations == trained.history.best == best < 40
    assert trained.manifest.metrics["loss"] == losses[best]


def test_without_images_to_validate_on_the_last_weights_are_kept(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    run = recording()
    trained = train_restorer(plan(), pictures, [], {}, run)
    assert trained.manifest.iterations == 8
    assert trained.manifest.metrics == {}
    assert "validation_digest" not in trained.manifest.dataset
    assert any("no image to validate on" in line for line in run.lines)


def test_stages_of_a_schedule_are_not_compared_with_each_other(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    """L2 is smaller than L1 by nature; the first stage's losses do not count in the second."""
    run = recording()
    backwards = {**STAGES, "stages": [STAGES["stages"][0] | {"loss": {"kind": "l2"}},
                                      {"loss": {"kind": "l1"}}]}  # fmt: skip
    trained = train(plan(loss=backwards), pictures, run)
    assert trained.manifest.iterations > 4
    assert [set(v) & {"l1", "l2"} for _, _, v in run.points] == [{"l2"}] * 4 + [{"l1"}] * 4


def test_a_stage_that_would_never_begin_is_refused_where_epochs_are_given(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    """How many iterations that are is known with the images."""
    made = plan({"iterations": None, "epochs": 4}, loss=STAGES)
    with pytest.raises(BadInputError, match=r"until iteration 4, and the training has 3"):
        train(made, pictures, recording())


def test_images_that_are_trained_on_and_validated_on_are_told(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    run = recording()
    train_restorer(plan(), pictures[1:], pictures[:3], {}, run)
    assert any("2 of the images to validate on are trained on, too" in line for line in run.lines)
    apart = recording()
    train_restorer(plan(), pictures[2:], pictures[:2], {}, apart)
    assert not any("trained on, too" in line for line in apart.lines)


def test_an_mdf_loss_is_passed_in_by_its_id(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    loss = {
        "kind": "sum",
        "terms": [
            {"loss": {"kind": "l2"}},
            {"weight": 0.5, "loss": {"kind": "mdf", "loss_id": "loss_1"}},
        ],
    }
    run = recording()
    trained = train(plan(loss=loss), pictures, run, losses={"loss_1": loss_of()})
    _, _, values = run.points[0]
    assert values["loss"] == pytest.approx(values["l2"] + 0.5 * values["mdf"], rel=1e-5)
    assert trained.manifest.loss["terms"][1]["loss"]["loss_id"] == "loss_1"
    with pytest.raises(BadInputError, match="loss_1"):
        train(plan(loss=loss), pictures, recording())
    small = plan({"patch": 10, "validation_crop": 40}, loss=loss)
    with pytest.raises(BadInputError, match=r"patch is 10 px; the loss loss_1 .* least 11 px"):
        train(small, pictures, recording(), losses={"loss_1": loss_of()})


def test_an_adversarial_loss_trains_a_discriminator_beside(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    run = recording()
    recipe = {"patch": 32, "adversary": {"width": 4}}
    trained = train(plan(recipe, loss=SUM), pictures, run)
    assert set(run.points[0][2]) == {
        "loss",
        "l1",
        "relativistic_gan",
        "discriminator",
        "learning_rate",
    }
    # The validation has the comparison alone.
    best = {row["iteration"]: row["loss"] for row in trained.history.validations}
    assert trained.manifest.metrics["loss"] == min(best.values())
    for step, values in ((step, values) for _, step, values in run.points if step in best):
        assert values["validation_loss"] == best[step]
        assert values["loss"] == pytest.approx(values["l1"] + 0.005 * values["relativistic_gan"])


def test_the_adversarial_gradient_reaches_the_network_and_the_discriminator_learns_apart(
    plan: Plan, pictures: list[Picture]
) -> None:
    """One step of gradient descent, against the two objectives written out."""
    step = 0.1
    made = plan(
        {
            "patch": 32,
            "optimiser": {"kind": "sgd", "learning_rate": step, "momentum": 0, "nesterov": False},
            "adversary": {"width": 4},
        },
        network={"kind": "dncnn", "depth": 3, "width": 4, "batch_norm": False},
        loss={"kind": "sum", "terms": [{"loss": {"kind": "l1"}},
                                       {"weight": 2, "loss": {"kind": "relativistic_gan"}}]},
    )  # fmt: skip
    objective = build(made.loss, {})
    learner = Learner(made, objective, iterations=8, device=torch.device("cpu"), initial=None)
    state = learner.state_dict()
    network = made.network.build()
    network.load_state_dict(state["network"])
    judge = VGGDiscriminator(size=32, width=4)
    judge.load_state_dict(state["adversary"]["network"])
    degraded, target = batch = Patches(pictures, made).batch(0)
    learner.iterate(batch)

    restored = network(degraded)
    real, fake = judge(target).detach(), judge(restored)
    adversarial = (
        -torch.log(1 - torch.sigmoid(real - fake.mean())).mean()
        - torch.log(torch.sigmoid(fake - real.mean())).mean()
    )
    loss = (restored - target).abs().mean() + 2 * adversarial
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    for before, gradient, after in zip(
        network.parameters(), gradients, learner.network.parameters(), strict=True
    ):
        torch.testing.assert_close(after, before - step * gradient, atol=1e-5, rtol=1e-4)

    real, fake = judge(target), judge(restored.detach())
    learned = (
        -torch.log(torch.sigmoid(real - fake.mean())).mean()
        - torch.log(1 - torch.sigmoid(fake - real.mean())).mean()
    )
    _, terms = objective(restored, target, 0, adversarial=lambda: adversarial)
    values = learner.point()
    assert values is not None
    assert values["discriminator"] == pytest.approx(learned.item(), rel=1e-4)
    assert values["relativistic_gan"] == pytest.approx(terms["relativistic_gan"].item(), rel=1e-4)
    # Adam's first step is the learning rate, down the discriminator's own gradient.
    gradients = torch.autograd.grad(learned, list(judge.parameters()))
    after = dict(learner.state_dict()["adversary"]["network"])
    for (name, before), gradient in zip(judge.named_parameters(), gradients, strict=True):
        clear = gradient.abs() > 1e-4
        moved = (after[name] - before)[clear]
        torch.testing.assert_close(moved, -1e-4 * gradient.sign()[clear], atol=1e-6, rtol=0.02)


def test_an_overflow_of_float16_is_no_divergence(plan: Plan, pictures: list[Picture]) -> None:
    """The scale of the gradients is found by overflows; a cap on their norm must not see them."""
    made = plan({"precision": "float16", "clip_norm": 0.1})
    learner = Learner(
        made, build(made.loss, {}), iterations=8, device=torch.device("cpu"), initial=None
    )
    degraded, target = Patches(pictures, made).batch(0)
    before = learner.network.state_dict()["model.0.weight"].clone()
    learner.iterate(Pair(100 * degraded, target))
    assert torch.equal(learner.network.state_dict()["model.0.weight"], before)  # was left out
    assert learner.is_finite()
    assert (learner.point() or {})["gradient_norm"] == pytest.approx(0.1)


def test_a_moving_average_of_the_weights_is_what_is_kept(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    plain = train(plan({"validate_every": 8}), pictures, recording())
    averaged = train(plan({"validate_every": 8, "ema": 0.9}), pictures, recording())
    name = "model.0.weight"
    ours, theirs = (each.network.state_dict()[name] for each in (averaged, plain))
    assert not torch.equal(ours, theirs)
    assert torch.allclose(ours, theirs, atol=0.01)
    assert averaged.history.points == plain.history.points  # it does not change the training


def test_a_batch_in_parts_gives_the_gradient_of_the_whole(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    network = {"kind": "dncnn", "depth": 3, "width": 4, "batch_norm": False}
    whole, parts = (
        train(plan({"accumulate": accumulate}, network=network), pictures, recording())
        for accumulate in (1, 4)
    )
    for name, weight in whole.network.state_dict().items():
        assert torch.allclose(weight, parts.network.state_dict()[name], atol=1e-5)


def test_half_precision_is_the_networks_alone(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    run = recording()
    trained = train(plan({"precision": "bfloat16"}), pictures, run)
    assert {tensor.dtype for tensor in trained.network.parameters()} == {torch.float32}
    exact = recording()
    train(plan(), pictures, exact)
    assert run.points[0][2]["loss"] != exact.points[0][2]["loss"]
    assert run.points[0][2]["loss"] == pytest.approx(exact.points[0][2]["loss"], rel=0.02)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU it works")
def test_float16_needs_a_gpu(plan: Plan, pictures: list[Picture], recording: Any) -> None:
    with pytest.raises(BadInputError, match="float16, which needs a GPU"):
        train(plan({"precision": "float16"}), pictures, recording())


def test_training_goes_on_from_a_model_of_the_same_network(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    first = train(plan({"optimiser": {"kind": "adam", "learning_rate": 1e-2}}), pictures,
                  recording()).network  # fmt: skip
    still = plan({"iterations": 1, "optimiser": {"kind": "adam", "learning_rate": 1e-9}})
    second = train(still, pictures, recording(), initial=first).network
    for name, weight in first.named_parameters():
        assert torch.allclose(weight, second.get_parameter(name), atol=1e-6)
    other = plan(network={"kind": "dncnn", "depth": 4, "width": 4})
    with pytest.raises(BadInputError, match="the model to start from is a dncnn"):
        train(other, pictures, recording(), initial=first)


def test_the_random_seed_decides_everything(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    torch.manual_seed(1)
    first = train(plan(), pictures, recording())
    torch.manual_seed(2)
    np.random.seed(2)
    assert content(train(plan(), pictures, recording())) == content(first)
    other = train(plan({"random_seed": 8}), pictures, recording())
    assert not torch.equal(other.network.model[0].weight, first.network.model[0].weight)


EVERYTHING = {
    "patch": 32,
    "ema": 0.9,
    "accumulate": 2,
    "clip_norm": 0.5,
    "warmup": 3,
    "schedule": {"kind": "cosine"},
    "adversary": {"width": 4},
}


@pytest.mark.parametrize(
    ("recipe", "parts"),
    [
        ({}, {"loss": STAGES}),
        (EVERYTHING, {"loss": SUM}),
        ({"optimiser": {"kind": "sgd", "learning_rate": 0.01}, "patch": 24}, SISR),
        ({"optimiser": {"kind": "adamw"}}, {"task": {"kind": "jpeg", "quality": [5, 50]}}),
    ],
    ids=["schedule", "adversarial", "sisr", "jpeg"],
)
def test_a_run_stopped_at_any_iteration_ends_in_the_same_bytes(
    recipe: dict[str, Any],
    parts: dict[str, Any],
    plan: Plan,
    pictures: list[Picture],
    recording: Any,
) -> None:
    made = plan(recipe, **parts)
    expected = content(train(made, pictures, recording()))
    state, attempts = None, 0
    while True:  # an attempt ends after an iteration
        run = recording(lambda n: Signal.PAUSE if n == 2 else Signal.CONTINUE, state)
        attempts += 1
        try:
            trained = train(made, pictures, run)
        except Paused:
            state = run.state
        else:
            break
    assert attempts == 8
    assert content(trained) == expected


def test_a_run_goes_on_from_any_of_its_checkpoints(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    """Curves of more iterations than points: sums since the last one are kept, too."""
    made = plan({"iterations": 450, "validate_every": 200, "batch": 1})
    whole = recording(lambda n: Signal.CHECKPOINT if n % 149 == 0 else Signal.CONTINUE)
    expected = content(train(made, pictures, whole))
    assert len(whole.saved) == 3
    steps = [step for _, step, _ in whole.points]
    assert steps == sorted({*range(3, 451, 3), 200, 400})
    for state in whole.saved:
        resumed = recording(state=state)
        assert content(train(made, pictures, resumed)) == expected
        assert "resumed after" in resumed.lines[0]
        assert all(point in whole.points for point in resumed.points)


@pytest.mark.slow
def test_a_process_that_is_killed_again_and_again_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """Through the runner of local trainings, which writes its checkpoints into files."""

    def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(SCRIPT), str(folder), *words])

    assert start(tmp_path / "whole").wait() == 0
    expected = (tmp_path / "whole" / "restorer.safetensors").read_bytes()
    folder, last = tmp_path / "killed", 0
    checkpoint = folder / "checkpoint.pt"
    for _ in range(2):
        process = start(folder, "stay")
        wait_until(lambda old=last: checkpoint.exists() and checkpoint.stat().st_mtime_ns != old)
        process.kill()
        process.wait()
        last = checkpoint.stat().st_mtime_ns
    assert start(folder).wait() == 0
    assert (folder / "restorer.safetensors").read_bytes() == expected


def test_a_checkpoint_of_another_training_is_refused(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    run = recording(lambda n: Signal.PAUSE if n == 3 else Signal.CONTINUE)
    with pytest.raises(Paused):
        train(plan(), pictures, run)
    for made, images in ((plan({"batch": 8}), pictures), (plan(), pictures[:4])):
        with pytest.raises(BadInputError, match="another task, network, loss, recipe or images"):
            train(made, images, recording(state=run.state))


def test_finish_keeps_the_best_weights_so_far(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    run = recording(lambda n: Signal.FINISH if n > 4 else Signal.CONTINUE)
    early = train(plan(), pictures, run)
    assert early.manifest.iterations in (3, 4)
    assert [row["iteration"] for row in early.history.validations] == [3, 4]
    assert any("finished early, after 4 iterations" in line for line in run.lines)
    *_, (_, step, values) = run.points  # of the last iteration again, with its validation
    assert step == 4
    assert {"loss", "l2", "learning_rate", "validation_loss", "validation_psnr"} <= set(values)
    assert values["validation_loss"] == early.history.validations[-1]["loss"]
    at_once = train(plan(), pictures, recording(lambda _: Signal.FINISH))
    assert at_once.manifest.iterations == 1


def test_a_validation_shows_at_each_image_that_it_gets_on(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    run = recording()
    trained = train(plan(), pictures, run)
    images = trained.manifest.metrics["images"]
    validations = len(trained.history.validations)
    assert images > 0
    # What is given is measured once, the samples are shown besides.
    assert run.signs >= images * (validations + 1)


def test_cancel_saves_nothing(plan: Plan, pictures: list[Picture], recording: Any) -> None:
    run = recording(lambda n: Signal.CANCEL if n == 3 else Signal.CONTINUE)
    with pytest.raises(Canceled):
        train(plan(), pictures, run)
    assert run.saved == []


def test_divergence_stops_the_training_and_keeps_the_good_checkpoint(
    plan: Plan, pictures: list[Picture], recording: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterate = Learner.iterate

    def explode(learner: Learner, batch: Any) -> None:
        iterate(learner, batch)
        if learner.iteration == 5:
            with torch.no_grad():
                next(learner.network.parameters()).fill_(torch.inf)

    monkeypatch.setattr(Learner, "iterate", explode)
    run = recording(lambda n: Signal.CHECKPOINT if n in (3, 6) else Signal.CONTINUE)
    with pytest.raises(DivergedError, match=r"before iteration 5 of 8.*`learning_rate`.*0\.001"):
        train(plan(), pictures, run)
    assert len(run.saved) == 1  # the one before
    resumed = recording(state=run.saved[0])
    monkeypatch.setattr(Learner, "iterate", iterate)
    assert train(plan(), pictures, resumed).manifest.iterations > 0


def test_a_learning_rate_that_is_far_too_high_is_noticed(
    plan: Plan, pictures: list[Picture], recording: Any
) -> None:
    recipe = {"optimiser": {"kind": "sgd", "learning_rate": 10}, "iterations": 200}
    with pytest.raises(DivergedError):
        train(plan(recipe), pictures, recording())


def test_the_share_held_out_depends_on_the_pixels_alone(pictures: list[Picture]) -> None:
    kept, held = split(pictures, 0.4)
    again, same = split(pictures[::-1], 0.4)
    assert {p.digest for p in held} == {p.digest for p in same}
    assert (len(kept), len(held)) == (3, 2)
    assert [p.name for p in kept] == [p.name for p in pictures if p in kept]
    assert {p.digest for p in kept} == {p.digest for p in again}
    assert split(pictures, 0.01)[1] == [min(pictures, key=lambda p: p.digest)]
    assert split(pictures, 0) == (pictures, [])
    assert split(pictures[:1], 0.5) == (pictures[:1], [])
