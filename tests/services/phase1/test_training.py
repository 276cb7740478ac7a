from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from mdf.artefact import write_artefact
from mdf.loss import MDFLoss
from services.errors import BadInputError, DivergedError
from services.phase1.pyramid import build_pyramid
from services.phase1.recipe import Custom, Denoising, JpegRestoration, Recipe, Sisr, Task
from services.phase1.scale import Random, Scale
from services.phase1.training import Seed, TrainedLoss, train_loss
from services.run import Canceled, Paused, Signal

JPEG = JpegRestoration()


def content(trained: TrainedLoss) -> bytes:
    """The artefact and everything the contact sheet is drawn from, as bytes."""
    history = b"".join(array.tobytes() for each in trained.history for array in vars(each).values())
    return write_artefact(trained.manifest, trained.discriminators) + history


def with_changes(recipe: Recipe, **changes: Any) -> Recipe:
    return Recipe.model_validate(recipe.model_dump() | changes)


TASKS: list[Task] = [
    JPEG,
    Denoising(),
    Sisr(),
    Custom.model_validate(
        {
            "distortions": [
                {"kind": "gaussian_blur", "sigma": [0, 2]},
                {"kind": "poisson_gaussian_noise"},
                {"kind": "webp", "quality": [10, 50]},
            ]
        }
    ),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
@pytest.mark.parametrize("objective", ["wgan-gp", "bce"])
def test_every_task_and_objective_gives_a_loss_that_tells_images_apart(
    task: Task, objective: str, tiny: Recipe, seed: Seed, recording: Any
) -> None:
    trained = train_loss(task, with_changes(tiny, objective=objective), [seed], recording())
    assert [d.width for d in trained.discriminators] == [4, 4, 8]
    loss = MDFLoss(trained.manifest, trained.discriminators)
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert loss(image, image) == 0
    assert loss(image, 1 - image) > 0


def test_the_manifest_says_what_was_done(tiny: Recipe, seed: Seed, recording: Any) -> None:
    manifest = train_loss(JPEG, tiny, [seed], recording()).manifest
    assert manifest.origin == "trained"
    assert manifest.task == {"kind": "jpeg", "quality": [7, 10]}
    assert Recipe.model_validate(manifest.recipe) == tiny
    assert manifest.widths == (4, 4, 8)
    assert manifest.iterations == (5, 5, 5)
    assert manifest.seeds == (seed.digest,)
    assert manifest.random_seed == 11
    assert manifest.value_range == (-1, 1)
    assert manifest.software["torch"] == torch.__version__
    unit = with_changes(tiny, scales=1, iterations=1, value_range="unit", taps="published")
    published = train_loss(JPEG, unit, [seed], recording()).manifest
    assert (published.value_range, published.taps) == ((0, 1), "published")


def test_an_iteration_is_twelve_discriminator_forwards(
    tiny: Recipe, seed: Seed, recording: Any
) -> None:
    """As the BatchNorm counters of the published weights say."""
    trained = train_loss(JPEG, tiny, [seed], recording())
    for discriminator in trained.discriminators[::2]:  # those that started from random weights
        assert discriminator.head.norm.num_batches_tracked == 12 * tiny.iterations


def test_widths_that_match_are_started_warm(tiny: Recipe, seed: Seed, recording: Any) -> None:
    counts = {
        warm: [
            int(d.head.norm.num_batches_tracked)
            for d in train_loss(
                JPEG, with_changes(tiny, warm_start=warm), [seed], recording()
            ).discriminators
        ]
        for warm in (True, False)
    }
    assert counts == {True: [60, 120, 60], False: [60, 60, 60]}


def test_the_run_hears_of_progress_metrics_and_samples(
    tiny: Recipe, seed: Seed, recording: Any
) -> None:
    run = recording()
    trained = train_loss(JPEG, tiny, [seed], run)
    assert run.places == [(scale, 3, step, 5) for scale in (1, 2, 3) for step in range(1, 6)]
    assert [(scale, step) for scale, step, _ in run.points] == [
        (scale, step) for scale in (1, 2, 3) for step in range(1, 6)
    ]
    rates = [values["learning_rate"] for scale, _, values in run.points if scale == 2]
    assert rates == pytest.approx([5e-4, 5e-4, 5e-4, 5e-5, 5e-5])
    assert {(s, t, k) for s, t, k in run.samples if t == 5} == {
        (scale, 5, kind) for scale in (1, 2, 3) for kind in ("seed", "generated", "map")
    }
    assert (2, 2, "generated") in run.samples
    assert all(png.startswith(b"\x89PNG") for png in run.samples.values())
    assert "15" in run.lines[0]
    curves = trained.history[1].curves
    assert curves[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert curves[2, 1:].tolist() == list(run.points[7][2].values())
    assert trained.history[2].generated.shape == trained.history[2].seed.shape == (32, 36, 3)
    assert trained.history[2].activations.shape == (22, 26)


def test_long_scales_have_two_hundred_points_at_most(
    tiny: Recipe, seed: Seed, recording: Any
) -> None:
    recipe = with_changes(tiny, scales=1, max_size=17, iterations=301, layers=3)
    run = recording()
    train_loss(JPEG, recipe, [seed], run)
    steps = [step for _, step, _ in run.points]
    assert steps == [*range(2, 301, 2), 301]


def test_training_restores_the_seed(seed: Seed, recording: Any) -> None:
    recipe = Recipe(scales=1, factor="auto", max_size=36, width=8, iterations=60, lr_decay_at=None)
    run = recording()
    train_loss(Denoising(sigma=25), recipe, [seed], run)
    mse = [values["reconstruction"] for _, _, values in run.points]
    assert np.mean(mse[-10:]) < 0.5 * np.mean(mse[:5])
    apart = [-v["discriminator_real"] - v["discriminator_fake"] for _, _, v in run.points]
    assert np.mean(apart[10:]) > 0  # the seed scores higher than what is generated


def test_the_generator_learns_from_the_discriminator(
    tiny: Recipe, seed: Seed, recording: Any
) -> None:
    """Without a reconstruction term its weights move only by the adversarial gradient."""
    recipe = with_changes(tiny, scales=1, reconstruction_weight=0, discriminator_steps=1)
    scale = first_scale(recipe, seed)
    before = [parameter.clone() for parameter in scale.generator.parameters()]
    scale.iterate()
    moved = [
        not torch.equal(old, new)
        for old, new in zip(before, scale.generator.parameters(), strict=True)
    ]
    assert all(moved)


def test_the_adversarial_gradient_comes_from_the_current_generator(
    tiny: Recipe, seed: Seed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each generator step judges is what the generator makes at that moment."""
    scale = first_scale(with_changes(tiny, scales=1), seed, distort=False)
    stale = []
    descend = scale._descend

    def compare(optimiser: int, loss: torch.Tensor) -> None:
        if optimiser == 1:
            mse = torch.nn.functional.mse_loss(scale.generator(scale._inputs[0]), scale._seeds[0])
            adversarial = -scale.discriminator(scale.generator(scale._inputs[0])).mean()
            now = adversarial + scale._recipe.reconstruction_weight * mse
            stale.append(not torch.isclose(now, loss, rtol=1e-4))
        descend(optimiser, loss)

    monkeypatch.setattr(scale, "_descend", compare)
    scale.iterate()
    assert stale == [False, False, False]


def test_the_discriminator_stays_as_it_is_in_the_generators_steps(
    tiny: Recipe, seed: Seed, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = first_scale(with_changes(tiny, scales=1), seed)
    weights: list[torch.Tensor] = []
    gradients: list[bool] = []
    descend = scale._descend

    def record(optimiser: int, loss: torch.Tensor) -> None:
        descend(optimiser, loss)
        if optimiser == 1:
            gradients.append(any(p.requires_grad for p in scale.discriminator.parameters()))
        weights.append(scale.discriminator.tail.weight.detach().clone())

    monkeypatch.setattr(scale, "_descend", record)
    scale.iterate()
    changes = [not torch.equal(a, b) for a, b in pairwise(weights)]
    assert changes == [True, True, False, False, False]
    assert gradients == [False, False, False]


def test_several_seeds_of_different_sizes_all_take_part(
    tiny: Recipe, seed: Seed, other_seed: Seed, recording: Any
) -> None:
    both = train_loss(JPEG, tiny, [seed, other_seed], recording())
    assert both.manifest.seeds == (seed.digest, other_seed.digest)
    alone = train_loss(JPEG, tiny, [seed], recording())
    assert content(both) != content(alone)


def test_crops_limit_what_an_iteration_sees(
    tiny: Recipe, seed: Seed, monkeypatch: pytest.MonkeyPatch, recording: Any
) -> None:
    sizes = set()
    draw = Scale._draw

    def record(scale: Scale) -> Any:
        real, source = draw(scale)
        assert real.shape == source.shape
        sizes.add(tuple(real.shape[-2:]))
        return real, source

    monkeypatch.setattr(Scale, "_draw", record)
    trained = train_loss(JPEG, with_changes(tiny, crop=18), [seed], recording())
    assert sizes == {(15, 16), (18, 18)}
    assert trained.history[2].generated.shape == (32, 36, 3)


def test_same_padding_trains_at_sizes_below_the_receptive_field(
    tiny: Recipe, seed: Seed, recording: Any
) -> None:
    recipe = with_changes(tiny, factor=2.0, padding="same", max_size=32)
    trained = train_loss(JPEG, recipe, [seed], recording())
    assert trained.history[0].seed.shape == (7, 8, 3)
    assert trained.history[0].activations.shape == (7, 8)


def test_the_random_seed_decides_everything(tiny: Recipe, seed: Seed, recording: Any) -> None:
    torch.manual_seed(1)
    first = content(train_loss(JPEG, tiny, [seed], recording()))
    torch.manual_seed(2)
    np.random.seed(2)
    assert content(train_loss(JPEG, tiny, [seed], recording())) == first
    other = with_changes(tiny, random_seed=12)
    assert content(train_loss(JPEG, other, [seed], recording())) != first


@pytest.mark.parametrize("task", [JPEG, Denoising()], ids=lambda task: task.kind)
def test_a_run_stopped_at_any_iteration_ends_in_the_same_bytes(
    task: Task, tiny: Recipe, seed: Seed, other_seed: Seed, recording: Any
) -> None:
    recipe = with_changes(tiny, crop=20)
    seeds = [seed, other_seed]
    expected = content(train_loss(task, recipe, seeds, recording()))
    state, attempts = None, 0
    while True:  # an attempt ends after two iterations: each in a scale and every boundary
        run = recording(lambda n: Signal.PAUSE if n == 3 else Signal.CONTINUE, state)
        attempts += 1
        try:
            trained = train_loss(task, recipe, seeds, run)
        except Paused:
            state = run.state
        else:
            break
    assert attempts == 8
    assert content(trained) == expected


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    tiny: Recipe, seed: Seed, recording: Any
) -> None:
    whole = recording(lambda n: Signal.CHECKPOINT if n % 4 == 0 else Signal.CONTINUE)
    expected = content(train_loss(JPEG, tiny, [seed], whole))
    assert len(whole.saved) == 3 + 3  # asked for, and one at the end of each scale
    for state in whole.saved:
        resumed = recording(state=state)
        assert content(train_loss(JPEG, tiny, [seed], resumed)) == expected
        assert "resumed" in resumed.lines[0]
        first = resumed.points[:1]
        assert all(point in whole.points for point in first)


def test_a_checkpoint_of_another_training_is_refused(
    tiny: Recipe, seed: Seed, other_seed: Seed, recording: Any
) -> None:
    run = recording()
    train_loss(JPEG, with_changes(tiny, scales=1), [seed], run)
    with pytest.raises(BadInputError, match="another task, recipe or seed"):
        train_loss(JPEG, with_changes(tiny, scales=1), [other_seed], recording(state=run.state))


def test_finish_keeps_the_scales_that_are_done(tiny: Recipe, seed: Seed, recording: Any) -> None:
    whole = train_loss(JPEG, tiny, [seed], recording())
    run = recording(lambda n: Signal.FINISH if n >= 13 else Signal.CONTINUE)  # in scale 3
    early = train_loss(JPEG, tiny, [seed], run)
    assert early.manifest.widths == (4, 4)
    assert early.manifest.iterations == (5, 5)
    for ours, theirs in zip(early.discriminators, whole.discriminators, strict=False):
        assert torch.equal(ours.tail.weight, theirs.tail.weight)
    assert len(early.history) == 2


def test_finish_before_the_first_scale_is_done_waits_for_it(
    tiny: Recipe, seed: Seed, recording: Any
) -> None:
    early = train_loss(JPEG, tiny, [seed], recording(lambda _: Signal.FINISH))
    assert early.manifest.iterations == (5,)


def test_cancel_stops_at_once(tiny: Recipe, seed: Seed, recording: Any) -> None:
    run = recording(lambda n: Signal.CANCEL if n == 2 else Signal.CONTINUE)
    with pytest.raises(Canceled):
        train_loss(JPEG, tiny, [seed], run)
    assert len(run.places) == 1
    assert run.saved == []


def test_divergence_is_named_and_keeps_the_last_good_checkpoint(
    tiny: Recipe, seed: Seed, recording: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterate = Scale.iterate

    def poisoned(scale: Scale) -> None:
        iterate(scale)
        if scale.index == 1 and scale.iteration == 3:
            with torch.no_grad():
                scale.generator.tail.weight[0, 0, 0, 0] = torch.nan

    monkeypatch.setattr(Scale, "iterate", poisoned)
    run = recording(lambda _: Signal.CHECKPOINT)
    with pytest.raises(DivergedError, match="scale 2 of 3 diverged before iteration 3"):
        train_loss(JPEG, tiny, [seed], run)
    good = run.state
    monkeypatch.setattr(Scale, "iterate", iterate)
    resumed = recording(state=good)
    train_loss(JPEG, tiny, [seed], resumed)
    assert resumed.places[0] == (2, 3, 3, 5)


def first_scale(recipe: Recipe, seed: Seed, *, distort: bool = True) -> Scale:
    levels = build_pyramid(seed.pixels, recipe)[:1]
    generator = torch.Generator().manual_seed(5)

    def add_noise(image: torch.Tensor) -> torch.Tensor:
        return image + 0.1 * torch.randn(image.shape, generator=generator)

    return Scale(
        index=0,
        recipe=recipe,
        seeds=levels,
        inputs=levels,
        distort=add_noise if distort else lambda image: image,
        random=Random.seeded(recipe.random_seed, torch.device("cpu")),
    )
