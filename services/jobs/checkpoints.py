"""Checkpoint files: one good one per job, those that a crash left behind swept away."""

from services.blobs import Blobs


def put(blobs: Blobs, job_id: str, token: int, number: int, state: bytes) -> str:
    """Store the `number`-th checkpoint of the attempt `token`; returns its key."""
    return blobs.put_sealed(f"checkpoints/{job_id}/{token}-{number}", state)


def sweep(blobs: Blobs, job_id: str, *, keep: str | None) -> int:
    """Delete the job's checkpoints except `keep`; returns how many."""
    superfluous = [name for name in blobs.keys(f"checkpoints/{job_id}") if name != keep]
    for name in superfluous:
        blobs.delete(name)
    return len(superfluous)
