"""Checkpoint files: one good one per job, those that a crash left behind swept away."""

from services.blobs import Blobs
from services.jobs.claims import Claim


def put(blobs: Blobs, job_id: str, token: int, number: int, state: bytes) -> str:
    """Store the `number`-th checkpoint of the attempt `token`; returns its key."""
    return blobs.put_sealed(f"checkpoints/{job_id}/{token}-{number}", state)


def sweep(blobs: Blobs, claim: Claim, *, keep: str | None) -> None:
    """Delete the checkpoints of this attempt and of those before it, except `keep`."""
    folder = f"checkpoints/{claim.job_id}"
    for key in blobs.keys(folder):
        token = key.removeprefix(f"{folder}/").partition("-")[0]
        if key != keep and int(token) <= claim.token:
            blobs.delete(key)
