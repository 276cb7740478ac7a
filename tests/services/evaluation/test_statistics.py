"""Figures of a comparison, against published tables, closed forms and what they must mean."""

import math

import numpy as np
import pytest

from services.evaluation.statistics import paired_test, student_cdf, student_quantile, summarise

rng = np.random.default_rng(20_260_101)


@pytest.mark.parametrize(
    ("chance", "degrees", "t"),
    [  # Student's table, as in any book
        (0.975, 1, 12.706),
        (0.975, 5, 2.571),
        (0.975, 10, 2.228),
        (0.95, 30, 1.697),
        (0.975, 120, 1.980),
        (0.995, 3, 5.841),
    ],
)
def test_quantiles_are_those_of_the_tables(chance: float, degrees: int, t: float) -> None:
    assert student_quantile(chance, degrees) == pytest.approx(t, abs=5e-4)


@pytest.mark.parametrize("t", [-40.0, -2.5, -0.1, 0.0, 0.3, 1.0, 7.0])
def test_the_distribution_has_its_closed_forms(t: float) -> None:
    assert student_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, rel=1e-12)
    assert student_cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), rel=1e-12)


def test_many_degrees_of_freedom_are_nearly_normal() -> None:
    assert student_cdf(1.96, 100_000) == pytest.approx(0.975, abs=1e-4)


def test_a_quantile_is_the_inverse_of_the_distribution() -> None:
    for degrees in (1, 4, 29, 999):
        assert student_cdf(student_quantile(0.975, degrees), degrees) == pytest.approx(0.975)


def test_the_interval_of_a_mean_is_as_reckoned_by_hand() -> None:
    # Mean 3, deviation √2.5, t of four degrees of freedom 2.776: 3 ± 2.776·√2.5 / √5.
    found = summarise(np.array([1.0, 2, 3, 4, 5]), higher_is_better=True, random_seed=0)
    assert (found.n, found.mean) == (5, 3.0)
    assert found.mean_interval == pytest.approx((1.0368, 4.9632), abs=1e-3)


def test_an_interval_of_the_mean_holds_it_nineteen_times_of_twenty() -> None:
    held = 0
    for _ in range(400):
        low, high = summarise(
            rng.normal(20, 3, 12), higher_is_better=True, random_seed=1
        ).mean_interval or (0, 0)
        held += low <= 20 <= high
    assert 360 <= held <= 396


def test_the_worst_images_lie_on_the_side_that_is_worse() -> None:
    scores = np.arange(101.0)
    assert summarise(scores, higher_is_better=True, random_seed=0).worst == 5.0
    assert summarise(scores, higher_is_better=False, random_seed=0).worst == 95.0


def test_the_bootstrap_is_the_same_for_the_same_seed_and_narrows_with_more_images() -> None:
    few, many = rng.normal(size=30), rng.normal(size=1000)
    first = summarise(few, higher_is_better=True, random_seed=3)
    assert first == summarise(few, higher_is_better=True, random_seed=3)
    assert (
        first.worst_interval != summarise(few, higher_is_better=True, random_seed=4).worst_interval
    )

    def width(scores: np.ndarray) -> float:
        low, high = summarise(scores, higher_is_better=True, random_seed=0).worst_interval or (0, 0)
        assert low <= high
        return high - low

    assert width(many) < width(few)


def test_one_image_has_no_interval() -> None:
    found = summarise(np.array([2.0]), higher_is_better=True, random_seed=0)
    assert (found.mean, found.worst) == (2.0, 2.0)
    assert found.mean_interval is None
    assert found.worst_interval is None
    assert paired_test(np.array([2.0]), np.array([1.0])).p is None


def test_a_paired_test_is_as_reckoned_by_hand() -> None:
    # Student's own data (1908): hours of sleep gained by ten patients; t = 4.0621, two-sided
    # p = 0.002833.
    first = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
    second = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
    found = paired_test(first, second)
    assert found.difference == pytest.approx(1.58)
    assert found.t == pytest.approx(4.0621, abs=1e-4)
    assert found.p == pytest.approx(0.002833 / 2, abs=1e-6)
    reverse = paired_test(second, first)
    assert reverse.p == pytest.approx(1 - 0.002833 / 2, abs=1e-6)


def test_pairs_tell_small_differences_apart_from_what_images_differ_in() -> None:
    images = rng.normal(25, 5, 40)
    better = images + 0.1 + rng.normal(0, 0.05, 40)
    found = paired_test(better, images)
    assert found.p is not None
    assert found.p < 1e-6


def test_differences_without_spread_are_certain_or_none() -> None:
    scores = rng.normal(size=8)
    assert paired_test(scores + 1, scores).p == 0.0
    assert paired_test(scores, scores + 1).p == 1.0
    assert paired_test(scores, scores).p == 0.5
    assert paired_test(scores, scores).t is None
