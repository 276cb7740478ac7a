"""What a training will take: counted work, what was measured here, and when it can start."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mdf.discriminator import Discriminator
from models.generator import Generator
from services.access import LOCAL, Caller
from services.database.schema import Job, Measurement, Worker, now
from services.errors import BadInputError
from services.estimates import counting, forecast, layers, measurements, phase1, phase2
from services.estimates.phase2 import Images
from services.estimates.speed import Load
from services.estimates.work import Work, forward
from services.ids import new_id
from services.jobs.specs import AnySpec
from services.phase1.recipe import DiscriminatorTraining, Recipe
from services.phase2.recipe import PRESETS, RestorationTraining, resolve
from services.restoration.spec import Restoration
from services.restorers.networks import NETWORK

ANNA = Caller(owner="anna", scopes=frozenset({"read", "write"}))
H200 = "cuda:0 NVIDIA H200"
NETWORKS: list[dict[str, Any]] = [
    {"kind": "dncnn", "depth": 5, "width": 8},
    {"kind": "dncnn", "depth": 4, "width": 8, "channels": 1},
    {"kind": "edsr", "scale": 4, "blocks": 2, "width": 8},
    {"kind": "edsr", "scale": 3, "blocks": 1, "width": 8},
    {"kind": "srresnet", "scale": 2, "blocks": 2, "width": 8},
    {"kind": "msrresnet", "scale": 4, "blocks": 2, "width": 8},
    {"kind": "rrdbnet", "scale": 4, "blocks": 1, "width": 8, "growth": 4},
    {"kind": "rrdbnet", "scale": 2, "blocks": 1, "width": 8, "growth": 4},
    {"kind": "zhao", "width": 8},
    {"kind": "srcnn", "widths": [8, 4], "middle_kernel": 3},
]


def multiply_adds(network: nn.Module, *shape: int) -> int:
    """Of one pass, as torch counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *shape))
    return int(counter.get_total_flops()) // 2


@pytest.fixture
def seed(add_image) -> str:
    return add_image(np.full((96, 128, 3), 90, np.uint8)).id


@pytest.fixture
def add_image(installation):
    from services.images import catalogue

    def add(pixels: np.ndarray, caller: Caller = LOCAL) -> Any:
        with installation.database.write() as session:
            decoded = catalogue.from_pixels(pixels, {"format": "PNG"})
            return catalogue.add(session, installation.blobs, decoded, name="x", caller=caller)[0]

    return add


@pytest.fixture
def ask(installation):
    def ask(spec: AnySpec, caller: Caller = LOCAL) -> forecast.Estimate:
        with installation.database.read() as session:
            return forecast.estimate(session, spec, caller)

    return ask


@pytest.fixture
def add_worker(installation):
    def add(device: str, job_id: str | None = None) -> None:
        with installation.database.write() as session:
            session.add(
                Worker(
                    id=new_id("msg"),
                    host="host",
                    pid=1,
                    device=device,
                    job_id=job_id,
                    started=now(),
                    last_seen=now(),
                )
            )

    return add


@pytest.fixture
def measure(installation):
    """Let a training have ended that took `factor` times what the counts say."""

    def measure(spec: AnySpec, factor: float, *, device: str = "cpu", memory: float = 1.0) -> Load:
        with installation.database.write() as session:
            load = counting.load_of(session, spec)
            session.add(
                Measurement(
                    id=new_id("msr"),
                    type=spec.type,
                    device=device,
                    counts=asdict(load),
                    seconds=factor * load.seconds,
                    memory_bytes=round(memory * load.memory_bytes),
                    created=now(),
                )
            )
        return load

    return measure


def training(*seeds: str, **recipe: Any) -> DiscriminatorTraining:
    return DiscriminatorTraining.model_validate(
        {
            "seed_image_ids": seeds,
            "task": {"kind": "jpeg"},
            "preset": "quick",
            "recipe": {"scales": 3, "iterations": 40, "width": 8, "max_size": 64, **recipe},
        }
    )


# The counts.


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_the_networks_of_phase_1_are_counted_as_torch_counts_them(padding: Any) -> None:
    judge = Discriminator(width=8, layers=5, padding=padding)
    counted = forward(layers.discriminator(8, 5, padding, 40, 56))
    assert counted.multiply_adds == multiply_adds(judge, 3, 40, 56)
    made = forward(layers.generator(8, 4, 40, 56))
    assert made.multiply_adds == multiply_adds(Generator(width=8, layers=4), 3, 40, 56)


@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: f"{spec['kind']}-{spec.get('scale')}")
def test_every_restorer_is_counted_as_torch_counts_it(spec: dict[str, Any]) -> None:
    network = NETWORK.validate_python(spec)
    counted = forward(layers.restorer(network, 48, 72))
    small = (48 // network.scale, 72 // network.scale)
    assert counted.multiply_adds == multiply_adds(network.build(), network.channels, *small)


def test_the_discriminator_of_an_adversarial_loss_is_counted_too() -> None:
    from models.restorers import VGGDiscriminator

    counted = forward(layers.vgg_discriminator(3, 8, 64)).multiply_adds
    linear = 8 * 8 * 2 * 2 * 100 + 100
    assert counted + linear == multiply_adds(VGGDiscriminator(size=64, width=8).eval(), 3, 64, 64)


def test_an_iteration_costs_by_its_steps() -> None:
    once = phase1.iteration(Recipe(discriminator_steps=1, generator_steps=1), 0, (64, 64), 1)
    thrice = phase1.iteration(Recipe(), 0, (64, 64), 1)
    assert 2.5 < thrice.multiply_adds / once.multiply_adds < 3.3
    assert (once.pixels, thrice.pixels) == (64 * 64, 5 * 64 * 64)


def test_several_seeds_share_the_iterations() -> None:
    recipe = Recipe(scales=2, factor=2, iterations=10)
    large, small = (128, 128), (64, 64)
    both = phase1.training(recipe, [large, small], 1)
    alone = [phase1.training(recipe, [size], 1).multiply_adds for size in (large, small)]
    assert both.multiply_adds == pytest.approx(sum(alone) / 2)


def test_crops_make_iterations_smaller() -> None:
    whole, cropped = (
        phase1.training(Recipe(factor="auto", crop=crop), [(512, 512)], 0) for crop in (None, 64)
    )
    assert cropped.multiply_adds < whole.multiply_adds / 5


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_of_phase_2_is_counted(preset: Any) -> None:
    plan = resolve(preset)
    images = Images(count=90, pixels=90 * 400**2, validated=10)
    whole = phase2.training(plan, images, {})
    steps = plan.recipe.iterations_on(90)
    assert whole.multiply_adds > steps * phase2.iteration(plan, {}).multiply_adds
    held_values, held_bytes = phase2.held(plan, images, {})
    assert held_values > 0
    assert held_bytes >= 3 * 90 * 400**2


def test_a_batch_in_parts_holds_less_and_does_as_much() -> None:
    whole, parts = (
        resolve("quick-edsr-sisr", recipe={"accumulate": accumulate}) for accumulate in (1, 4)
    )
    images = Images(count=9, pixels=9 * 200**2, validated=1)
    held = [phase2.held(plan, images, {})[0] for plan in (whole, parts)]
    assert held[1] == held[0] / 4
    done = [phase2.iteration(plan, {}).multiply_adds for plan in (whole, parts)]
    assert done[0] == done[1]


# The estimates.


def test_without_a_training_here_it_rests_on_another_machine(ask, seed: str) -> None:
    told = ask(training(seed))
    low, high = told.seconds
    assert high == pytest.approx(4 * low)
    assert told.basis.startswith("from a machine with 2 CPU cores")
    assert (told.trainings, told.memory) == (0, "host")
    assert told.memory_bytes > 100 << 20


def test_more_iterations_take_longer(ask, seed: str) -> None:
    short, long = ask(training(seed)), ask(training(seed, iterations=4000))
    assert long.seconds[0] > 5 * short.seconds[1]
    assert long.memory_bytes == short.memory_bytes


def test_it_rests_on_what_trainings_took_here(ask, measure, seed: str) -> None:
    wanted = training(seed)
    for factor in (2.0, 3.0):
        load = measure(wanted, factor, memory=1.5)
    told = ask(wanted)
    assert told.seconds == pytest.approx((load.seconds * 2 / 1.25, load.seconds * 3 * 1.25))
    assert told.memory_bytes == pytest.approx(1.5 * load.memory_bytes, rel=1e-6)
    assert told.basis == "from 2 trainings on the CPU here"
    assert told.trainings == 2


def test_the_most_similar_trainings_count(ask, measure, seed: str) -> None:
    for _ in range(5):
        measure(training(seed), 2.0)
    for _ in range(5):
        measure(training(seed, iterations=5000), 10.0)
    load = measure(training(seed, iterations=5000), 10.0)
    low, high = ask(training(seed, iterations=5000)).seconds
    assert (low, high) == pytest.approx((load.seconds * 8, load.seconds * 12.5))


def test_one_of_another_size_is_told_less_exactly(ask, measure, seed: str) -> None:
    measure(training(seed), 1.0)
    near, far = (ask(training(seed, iterations=count)).seconds for count in (45, 40_000))
    assert far[1] / far[0] > 1.5 * near[1] / near[0]


def test_what_is_not_known_of_a_gpu_is_not_told(ask, add_worker, measure, seed: str) -> None:
    add_worker(H200)
    measure(training(seed), 2.0)  # on a CPU
    told = ask(training(seed))
    assert (told.seconds, told.memory_bytes, told.memory) == (None, None, "gpu")
    assert told.basis == "not known yet: no training like it has ended on NVIDIA H200 here"
    measure(training(seed), 0.1, device="NVIDIA H200")
    told = ask(training(seed))
    assert told.seconds is not None
    assert told.basis == "from 1 training on NVIDIA H200 here"


def test_with_workers_of_several_kinds_it_spans_them(ask, add_worker, measure, seed: str) -> None:
    add_worker("cpu")
    add_worker(H200)
    slow, fast = measure(training(seed), 1.0), measure(training(seed), 0.1, device="NVIDIA H200")
    low, high = ask(training(seed)).seconds
    assert (low, high) == pytest.approx((fast.seconds * 0.1 / 1.25, slow.seconds * 1.25))


def test_it_says_when_a_worker_is_free(ask, add_worker, installation, seed: str) -> None:
    assert ask(training(seed)).wait_seconds is None
    add_worker("cpu", job_id="job_1")
    assert ask(training(seed)).wait_seconds is None
    add_worker("cpu")
    told = ask(training(seed))
    assert (told.jobs_ahead, told.wait_seconds) == (0, 0)
    with installation.database.write() as session:
        from services.jobs.submission import submit

        submit(session, training(seed), caller=LOCAL)
    told = ask(training(seed))
    assert (told.jobs_ahead, told.wait_seconds) == (1, None)


def test_a_restorer_is_estimated_with_its_data_set(ask, add_dataset) -> None:
    pixels = {f"{name}.png": np.full((64, 64, 3), name, np.uint8) for name in range(4)}
    dataset = add_dataset(pixels)
    wanted = {"dataset_id": dataset.id, "preset": "quick-dncnn-jpeg"}
    short = ask(RestorationTraining.model_validate({**wanted, "recipe": {"iterations": 50}}))
    long = ask(RestorationTraining.model_validate({**wanted, "recipe": {"iterations": 5000}}))
    assert long.seconds[0] > short.seconds[1]


def test_what_could_not_be_submitted_is_not_estimated(ask, add_image, seed: str) -> None:
    with pytest.raises(BadInputError, match="there is no image"):
        ask(training(seed), ANNA)
    small = add_image(np.zeros((40, 40, 3), np.uint8)).id
    with pytest.raises(BadInputError, match="too small"):
        ask(training(small, factor=2.0, scales=8))
    with pytest.raises(BadInputError, match="trainings alone"):
        ask(Restoration(model_id="model_1", image_ids=(seed,)))


# The measurements.


def finished(session: Any, spec: DiscriminatorTraining, **fields: Any) -> Job:
    from services.jobs.submission import submit

    job = submit(session, spec, caller=LOCAL)
    job.token, job.run_seconds = 1, 42.0
    for name, value in fields.items():
        setattr(job, name, value)
    return job


def test_a_training_leaves_what_it_took(installation, ask, seed: str) -> None:
    with installation.database.write() as session:
        measurements.note(session, finished(session, training(seed)))
    with installation.database.read() as session:
        ((load, kept),) = measurements.of_device(session, "discriminator_training", "cpu")
        assert load == counting.load_of(session, training(seed))
    assert kept.seconds == 42
    assert kept.memory_bytes > 50 << 20
    assert ask(training(seed)).trainings == 1


@pytest.mark.parametrize("fields", [{"token": 3}, {"desired_state": "finish"}])
def test_one_that_was_resumed_or_finished_early_leaves_nothing(
    installation, seed: str, fields: dict[str, Any]
) -> None:
    with installation.database.write() as session:
        measurements.note(session, finished(session, training(seed), **fields))
    with installation.database.read() as session:
        assert measurements.of_device(session, "discriminator_training", "cpu") == []


def test_the_oldest_measurements_go(
    installation, seed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurements, "KEPT", 2)
    for seconds in (1.0, 2.0, 3.0):
        with installation.database.write() as session:
            job = finished(session, training(seed), run_seconds=seconds)
            measurements.note(session, job)
    with installation.database.read() as session:
        found = measurements.of_device(session, "discriminator_training", "cpu")
    assert sorted(kept.seconds for _, kept in found) == [2, 3]


def test_work_that_cannot_be_counted_costs_no_training(
    installation, seed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Load:
        raise ZeroDivisionError

    monkeypatch.setattr(measurements, "load_of", fail)
    with installation.database.write() as session:
        measurements.note(session, finished(session, training(seed)))


def test_what_another_version_has_counted_is_left_out(
    installation, ask, measure, seed: str
) -> None:
    measure(training(seed), 2.0)
    with installation.database.write() as session:
        kept = session.query(Measurement).one()
        kept.counts = {**kept.counts, "work": {**kept.counts["work"], "whiskers": 3}}
    assert ask(training(seed)).trainings == 0


def test_names_of_devices() -> None:
    assert measurements.kind_of("cpu") == "cpu"
    assert measurements.kind_of(H200) == "NVIDIA H200"


def test_counts_add_up_and_multiply() -> None:
    work = Work(layers=1, multiply_adds=2, values=3)
    assert work + work == work * 2
    assert replace(work, layers=2) != work
