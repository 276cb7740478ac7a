"""A sign of life that the kernel keeps: a file lock for each running attempt.

The job process holds an exclusive `flock` on a file named after its claim, from before the
claim is made until the process is gone, however it ended. Another process of the same host
that can take the lock knows that the attempt is dead, without waiting for its lease.
"""

import fcntl
import os
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.jobs.claims import Claim
from services.settings import Settings


def this_host() -> str:
    """Name of the host, as leases carry it."""
    return socket.gethostname()


@dataclass(frozen=True)
class Lock:
    """A lock that this process holds; a child that inherits `descriptor` holds it too."""

    path: Path
    descriptor: int

    def close(self) -> None:
        """Close this process's copy; the lock stays while another process has one."""
        os.close(self.descriptor)

    def discard(self) -> None:
        """Give the lock up and remove its file."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class Locks:
    """The locks of one installation on this host."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Where every process of the installation on this host looks for them."""
        return cls(settings.home_folder / "locks")

    def take(self, claim: Claim, *, patience: float = 1.0) -> Lock | None:
        """Lock the attempt; None if another process holds it for longer than `patience` s."""
        path = self._path(claim)
        end = time.monotonic() + patience
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            if _try(descriptor) and _is_still(path, descriptor):
                return Lock(path, descriptor)
            os.close(descriptor)
            if time.monotonic() > end:
                return None
            time.sleep(0.02)

    def is_dead(self, claim: Claim) -> bool:
        """Whether the attempt's process was on this host and is gone.

        False too when there is no such file: the process may be in another container
        that calls itself by the same name; its lease will tell.
        """
        try:
            descriptor = os.open(self._path(claim), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return _try(descriptor)
        finally:
            os.close(descriptor)

    def sweep(self, held: Collection[Claim]) -> None:
        """Remove the files that no attempt in `held` and no living process needs."""
        needed = {self._path(claim) for claim in held}
        for path in self._folder.iterdir():
            if path in needed:
                continue
            try:
                descriptor = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                continue
            if _try(descriptor):
                path.unlink(missing_ok=True)
            os.close(descriptor)

    def _path(self, claim: Claim) -> Path:
        return self._folder / f"{claim.job_id}.{claim.token}"


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the locked file is the one of that name: it may have been removed meanwhile."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
