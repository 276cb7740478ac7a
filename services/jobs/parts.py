"""What a job has done so far, in files of its own that the result is made of."""

from services.blobs import Blobs

FOLDER = "parts"


def key(job_id: str, position: int) -> str:
    """Name of the job's part at `position`, from 0."""
    return f"{FOLDER}/{job_id}/{position:06}"


def done(blobs: Blobs, job_id: str) -> set[str]:
    """Names of the parts that are there: each is whole."""
    return set(blobs.keys(f"{FOLDER}/{job_id}"))


def sweep(blobs: Blobs, job_id: str) -> None:
    """Delete the parts of a job that has its result."""
    for name in done(blobs, job_id):
        blobs.delete(name)
