"""The register of worker slots: who is there, on what device, with which job."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from services.database.schema import Worker, now
from services.jobs.locks import this_host


@dataclass(frozen=True)
class Slot:
    """One worker slot of this process."""

    id: str
    host: str
    pid: int
    device: str
    started: datetime

    @classmethod
    def here(cls, number: int, device: str) -> Self:
        """Slot `number` of this host, in this process."""
        host, pid = this_host(), os.getpid()
        return cls(f"{host}:{number}:{pid}", host, pid, device, now())


def show(
    session: Session, slot: Slot, job_id: str | None, resources: Mapping[str, Any] | None = None
) -> None:
    """Note that the slot is alive, the job it runs, and what its host has left."""
    session.merge(
        Worker(
            id=slot.id,
            host=slot.host,
            pid=slot.pid,
            device=slot.device,
            job_id=job_id,
            resources=dict(resources or {}),
            started=slot.started,
            last_seen=now(),
        )
    )


def leave(session: Session, slot: Slot) -> None:
    """Forget a slot that is being stopped."""
    session.execute(delete(Worker).where(Worker.id == slot.id))


def forget(session: Session, before: datetime) -> None:
    """Forget the slots that were last seen before that time."""
    session.execute(delete(Worker).where(Worker.last_seen < before))


def list_workers(session: Session) -> list[Worker]:
    """All slots, by name."""
    return list(session.scalars(select(Worker).order_by(Worker.id)))
