"""What a training will take, before it is submitted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.access import Caller
from services.database.schema import Job, Measurement, Worker, now
from services.errors import BadInputError
from services.estimates import measurements
from services.estimates.counting import Training, load_of
from services.estimates.measurements import CPU
from services.estimates.speed import MACHINE, Load
from services.jobs import queries
from services.jobs.admission import admit
from services.jobs.lifecycle import HELD, State
from services.jobs.queues import QUEUES, types_in
from services.jobs.specs import AnySpec

# A worker that has not been seen for so long is not there.
_AWAY = timedelta(minutes=2)
_NEAREST = 5  # measurements that an estimate is made of
# How far off an estimate may be, as a factor: from trainings of that size, from another machine.
_SPREAD = 1.25
_SPREAD_ELSEWHERE = 2.0
# By how much more for one of another size: this power of the ratio of the sizes.
_SPREAD_OF_SIZES = 0.2


@dataclass(frozen=True)
class Estimate:
    """What a training will take.

    Args:
        seconds: shortest and longest time that it is likely to run; None if that is not known.
        memory_bytes: that it needs at most; None if that is not known.
        memory: whose: "host" or "gpu".
        basis: what this rests on, in words.
        trainings: how many finished ones here it rests on.
        jobs_ahead: how many wait already.
        wait_seconds: until it can start; None if that is not known.
    """

    seconds: tuple[float, float] | None
    memory_bytes: int | None
    memory: Literal["host", "gpu"]
    basis: str
    trainings: int
    jobs_ahead: int
    wait_seconds: float | None


def estimate(session: Session, spec: AnySpec, caller: Caller) -> Estimate:
    """Of a training that could be submitted as it is.

    Raises: BadInputError if `spec` is of no training, or for what it names and is not there, not
        ready or does not fit.
    """
    if not isinstance(spec, Training):
        raise BadInputError(f"there are estimates of trainings alone, not of a {spec.type}")
    admit(session, spec, caller)
    load = load_of(session, spec)
    workers = _workers(session)
    each = [_on(session, load, device) for device in measurements.kinds(workers) or [CPU]]
    ranges = [one.seconds for one in each if one.seconds is not None]
    sizes = [one.memory_bytes for one in each if one.memory_bytes is not None]
    ahead, wait = _queue(session, spec.type, workers)
    return Estimate(
        seconds=(min(low for low, _ in ranges), max(high for _, high in ranges))
        if ranges
        else None,
        memory_bytes=max(sizes, default=None),
        memory="host" if all(one.device == CPU for one in each) else "gpu",
        basis="; ".join(one.basis for one in each),
        trainings=sum(one.trainings for one in each),
        jobs_ahead=ahead,
        wait_seconds=wait,
    )


@dataclass(frozen=True)
class _OnDevice:
    """An estimate for one kind of device."""

    device: str
    seconds: tuple[float, float] | None
    memory_bytes: int | None
    basis: str
    trainings: int


def _on(session: Session, load: Load, device: str) -> _OnDevice:
    near = _nearest(load, measurements.of_device(session, load.type, device))
    if near:
        count = f"{len(near)} training{'s' if len(near) != 1 else ''}"
        where = "the CPU" if device == CPU else device
        ratios = [measured.seconds / counted.seconds for counted, measured in near]
        distances = [abs(math.log(load.seconds / counted.seconds)) for counted, _ in near]
        spread = _SPREAD * math.exp(_SPREAD_OF_SIZES * min(distances))
        held = max(measured.memory_bytes / counted.memory_bytes for counted, measured in near)
        return _OnDevice(
            device=device,
            seconds=(
                load.seconds * min(ratios) / spread,
                load.seconds * max(ratios) * spread,
            ),
            memory_bytes=round(load.memory_bytes * held),
            basis=f"from {count} on {where} here",
            trainings=len(near),
        )
    if device == CPU:
        return _OnDevice(
            device=device,
            seconds=(load.seconds / _SPREAD_ELSEWHERE, load.seconds * _SPREAD_ELSEWHERE),
            memory_bytes=round(load.memory_bytes),
            basis=f"from {MACHINE}: no training like it has ended here yet",
            trainings=0,
        )
    return _OnDevice(
        device=device,
        seconds=None,
        memory_bytes=None,
        basis=f"not known yet: no training like it has ended on {device} here",
        trainings=0,
    )


def _nearest(
    load: Load, measured: Sequence[tuple[Load, Measurement]]
) -> list[tuple[Load, Measurement]]:
    """Those of the most similar size; of equal ones, the newest."""
    newest = sorted(measured, key=lambda pair: pair[1].id, reverse=True)
    return sorted(newest, key=lambda pair: abs(math.log(load.seconds / pair[0].seconds)))[:_NEAREST]


def _workers(session: Session) -> list[Worker]:
    """Those that are there."""
    return list(session.scalars(select(Worker).where(Worker.last_seen > now() - _AWAY)))


def _queue(session: Session, job_type: str, workers: Sequence[Worker]) -> tuple[int, float | None]:
    """How many jobs wait, and how long until a worker is free for one more."""
    types = types_in(QUEUES[job_type])
    waiting = select(func.count()).where(Job.type.in_(types), Job.state == State.QUEUED)
    ahead = session.scalar(waiting) or 0
    if not workers or ahead:
        return ahead, None
    if any(worker.job_id is None for worker in workers):
        return ahead, 0.0
    running = session.scalars(select(Job).where(Job.state.in_(HELD)))
    times = [queries.eta_seconds(session, job) for job in running]
    return ahead, min((time for time in times if time is not None), default=None)
