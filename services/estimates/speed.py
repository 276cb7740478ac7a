"""What counted work costs on the machine that it was measured on: one with two CPU cores.

The figures are those of benchmarks/results/estimates.md.
"""

from dataclasses import astuple, dataclass

from services.estimates.work import Work

MACHINE = "a machine with 2 CPU cores"

# Seconds of each of the counts.
_COSTS = Work(layers=2e-4, multiply_adds=2e-11, values=3e-9, images=3e-4, pixels=2e-8)
# Seconds of a job beside its iterations: its start, and packing what it has made.
_START = 6.0
_PACKING = {"discriminator_training": 0.8, "restoration_training": 6.0}
_PROCESS_BYTES = 400 << 20
_BYTES_OF_VALUE = 14.0


@dataclass(frozen=True)
class Load:
    """What a job comes to, in counts.

    Args:
        type: of the job.
        work: of all its iterations and validations.
        packed: how many networks are packed at its end.
        held_values: of layers that are held at once, at most.
        held_bytes: beside them.
    """

    type: str
    work: Work
    packed: int
    held_values: float
    held_bytes: float

    @property
    def seconds(self) -> float:
        """That it takes there."""
        costs = zip(astuple(self.work), astuple(_COSTS), strict=True)
        iterations: float = sum(count * cost for count, cost in costs)
        return _START + _PACKING[self.type] * self.packed + iterations

    @property
    def memory_bytes(self) -> float:
        """That its process holds there, at most."""
        return _PROCESS_BYTES + _BYTES_OF_VALUE * self.held_values + self.held_bytes
