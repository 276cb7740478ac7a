"""The files of a job, by folder: below each, a folder of its own."""

from services.blobs import Blobs
from services.jobs import parts

FOLDERS = ("checkpoints", "samples", "artifacts", parts.FOLDER)


def delete(blobs: Blobs, job_id: str) -> int:
    """Remove all files of a job that is gone; returns how many bytes that has freed."""
    return sum(blobs.delete_below(f"{folder}/{job_id}") for folder in FOLDERS)
