"""The share of the work that is done, and the time that the rest takes."""

import pytest

from services.jobs.execution import iteration_costs
from services.jobs.progress import Progress
from services.phase1.recipe import PRESETS


def test_the_share_counts_work_and_not_iterations():
    progress = Progress()
    progress.plan([1, 2, 5])
    at = progress.at(scale=2, scales=3, step=50, steps=100)
    assert at["fraction"] == pytest.approx((1 + 1) / 8)
    assert progress.at(scale=3, scales=3, step=100, steps=100)["fraction"] == 1


def test_the_eta_follows_the_speed_of_this_attempt():
    clock = iter([0.0, 10.0, 20.0])
    progress = Progress(clock=lambda: next(clock))
    assert progress.at(scale=1, scales=1, step=500, steps=1000)["eta_seconds"] is None
    assert progress.at(scale=1, scales=1, step=600, steps=1000)["eta_seconds"] == 40
    assert progress.at(scale=1, scales=1, step=700, steps=1000)["eta_seconds"] == 30


def test_fine_scales_cost_more_and_coarse_ones_are_not_free():
    costs = iteration_costs(PRESETS["quick"], [(128, 128)])
    assert len(costs) == 8
    assert costs == sorted(costs)
    assert 5 < costs[-1] / costs[0] < 200
