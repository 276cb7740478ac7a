"""What an evaluation says: facts, figures and tests, as JSON."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from services.evaluation.spec import INPUT, Evaluation
from services.evaluation.statistics import ALPHA, Scores, paired_test, summarise

FORMAT = 1

Plain = dict[str, Any]


@dataclass(frozen=True)
class Yardstick:
    """What images are scored by.

    Attributes:
        name: of a metric, or the id of a loss.
        label: for people.
        unit: "dB", or "" for a plain number.
        higher_is_better: whether a better image has a higher score.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool


@dataclass(frozen=True)
class Candidate:
    """A model that is compared, as it was then; or the degraded image, which has no network.

    Attributes:
        id: of the model, or `input`.
        name: for people.
        network: its specification.
        loss: that it was trained with.
        sha256: of its safetensors file.
        trained_on_these: whether its training may have seen these images.
    """

    id: str
    name: str
    network: Plain | None = None
    loss: Plain | None = None
    sha256: str | None = None
    trained_on_these: bool = False


@dataclass(frozen=True)
class Material:
    """The data set, and what was taken of it."""

    id: str
    name: str
    digest: str | None
    images: int
    held_out: bool


def summarise_all(
    spec: Evaluation,
    material: Material,
    candidates: Sequence[Candidate],
    yardsticks: Sequence[Yardstick],
    images: Sequence[Mapping[str, Any]],
) -> Plain:
    """The figures of every candidate, and the tests between each two, from the images' values."""
    scores = {
        (candidate.id, yardstick.name): np.array(
            [image["values"][candidate.id][yardstick.name] for image in images]
        )
        for candidate in candidates
        for yardstick in yardsticks
    }
    return {
        "task": spec.model_dump(mode="json")["task"],
        "dataset": asdict(material),
        "crop": spec.crop,
        "random_seed": spec.random_seed,
        "metrics": [asdict(yardstick) for yardstick in yardsticks],
        "candidates": [
            asdict(candidate)
            | {
                "results": {
                    yardstick.name: asdict(
                        summarise(
                            scores[candidate.id, yardstick.name],
                            higher_is_better=yardstick.higher_is_better,
                            random_seed=spec.random_seed,
                        )
                    )
                    for yardstick in yardsticks
                }
            }
            for candidate in candidates
        ],
        "comparisons": [
            _compare(yardstick, first, second, scores)
            for yardstick in yardsticks
            for first, second in itertools.combinations(candidates, 2)
        ],
    }


def _compare(
    yardstick: Yardstick,
    first: Candidate,
    second: Candidate,
    scores: Mapping[tuple[str, str], Scores],
) -> Plain:
    """The test of `first` being better than `second`; that of the reverse has 1 − p."""
    sign = 1 if yardstick.higher_is_better else -1
    test = paired_test(
        *(sign * scores[candidate.id, yardstick.name] for candidate in (first, second))
    )
    better = None
    if test.p is not None and test.p < ALPHA:
        better = first.id
    elif test.p is not None and 1 - test.p < ALPHA:
        better = second.id
    return {
        "metric": yardstick.name,
        "first": first.id,
        "second": second.id,
        "advantage": test.difference,
        "t": test.t,
        "p": test.p,
        "better": better,
    }


def degraded() -> Candidate:
    """The degraded image itself, which every model should better."""
    return Candidate(id=INPUT, name="Degraded input")
