"""What is remembered of a restorer's training, to be looked at: curves and pictures."""

from dataclasses import dataclass

from services.phase2.validation import Sample


@dataclass(frozen=True)
class TrainingHistory:
    """Curves and pictures of one training.

    Args:
        points: values of the training's curves by name, each with its `iteration`; means since
            the point before.
        validations: the same of the validations.
        best: iteration of the weights that are kept.
        degraded: metrics of what the network was given in validation.
        samples: validation images, restored by these weights.
    """

    points: list[dict[str, float]]
    validations: list[dict[str, float]]
    best: int
    degraded: dict[str, float]
    samples: list[Sample]
