"""How long trainings took here, and what memory they needed, beside what was counted of them.

A measurement outlives its job, and does not say whose it was.
"""

import logging
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from services.database.schema import Job, Measurement, Worker, now
from services.estimates.counting import load_of
from services.estimates.speed import Load
from services.estimates.work import Work
from services.ids import new_id
from services.jobs.specs import spec_of
from services.phase1.recipe import DiscriminatorTraining
from services.phase2.recipe import RestorationTraining

CPU = "cpu"
KEPT = 200  # of each type of job on each kind of device, the newest
_LOAD, _WORK = ({each.name for each in fields(counted)} for counted in (Load, Work))
_log = logging.getLogger(__name__)


def note(session: Session, job: Job) -> None:
    """Keep what the training of this process took; in the transaction that ends the job.

    Only of one that ran once, to its planned end: of others it is not known what was done.
    """
    spec = spec_of(job)
    if job.token != 1 or job.desired_state != "run":
        return
    if not isinstance(spec, DiscriminatorTraining | RestorationTraining):
        return
    try:
        load = load_of(session, spec)
    except Exception:  # noqa: BLE001 - a figure less is no reason to lose a training
        _log.exception("the work of job %s cannot be counted", job.id)
        return
    holder = select(Worker.device).where(Worker.id == job.lease_holder)
    device = kind_of(session.scalar(holder) or CPU)
    session.add(
        Measurement(
            id=new_id("msr"),
            type=job.type,
            device=device,
            counts=asdict(load),
            seconds=job.run_seconds,
            memory_bytes=_peak(device),
            created=now(),
        )
    )
    session.flush()
    _forget_old(session, job.type, device)


def of_device(session: Session, job_type: str, device: str) -> list[tuple[Load, Measurement]]:
    """The measurements of that type of job on that kind of device, each with its counts.

    Those of a version that counted something else are left out.
    """
    query = select(Measurement).where(Measurement.type == job_type, Measurement.device == device)
    return [
        (_load(each.counts), each)
        for each in session.scalars(query)
        if each.counts.keys() == _LOAD and each.counts["work"].keys() == _WORK
    ]


def kinds(workers: Sequence[Worker]) -> list[str]:
    """The kinds of devices that workers have."""
    return sorted({kind_of(worker.device) for worker in workers})


def kind_of(device: str) -> str:
    """`cuda:0 NVIDIA H200` is an `NVIDIA H200`."""
    return CPU if device == CPU else device.partition(" ")[2] or "GPU"


def _load(counts: Mapping[str, Any]) -> Load:
    return Load(**{**counts, "work": Work(**counts["work"])})


def _peak(device: str) -> int:
    """Most memory that this process has held: the GPU's, where it has one."""
    if device == CPU:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    import torch

    return int(torch.cuda.max_memory_reserved())


def _forget_old(session: Session, job_type: str, device: str) -> None:
    mine = Measurement.type == job_type, Measurement.device == device
    old = select(Measurement.id).where(*mine).order_by(Measurement.id.desc()).offset(KEPT)
    session.execute(delete(Measurement).where(Measurement.id.in_(session.scalars(old).all())))
