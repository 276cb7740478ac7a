"""What counted work costs on the machine that it was measured on: one with two CPU cores.

The figures are those of benchmarks/results/estimates.md.
"""

from dataclasses import astuple, dataclass

from services.estimates.work import Work

MACHINE = "a machine with 2 CPU cores"

# Seconds of a processor for each of the counts.
_COSTS = {
    "discriminator_training": Work(
        layers=7.3e-5, multiply_adds=2e-11, values=2.4e-9, pixels=1.2e-7
    ),
    "restoration_training": Work(layers=5e-5, multiply_adds=2.1e-11, values=4.9e-10, pixels=1e-7),
}
# What two processors make of them, in seconds.
_SHARE = 0.7
# Seconds of a job beside its iterations: its start, and packing what it has made.
_START = 4.7
_PACKING = {"discriminator_training": 0.7, "restoration_training": 1.5}
_PROCESS_BYTES = 490 << 20  # with what packs its networks
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
        costs = zip(astuple(self.work), astuple(_COSTS[self.type]), strict=True)
        iterations: float = _SHARE * sum(count * cost for count, cost in costs)
        return _START + _PACKING[self.type] * self.packed + iterations

    @property
    def memory_bytes(self) -> float:
        """That its process holds there, at most."""
        return _PROCESS_BYTES + _BYTES_OF_VALUE * self.held_values + self.held_bytes
