"""Which pictures of a data set a training leaves to its validation. Nothing here imports torch."""

from collections.abc import Sequence
from hashlib import sha256

from services.datasets.picture import Picture


def split(pictures: Sequence[Picture], share: float) -> tuple[list[Picture], list[Picture]]:
    """What to train on, and the `share` held out for validation.

    Which ones are held out depends on their pixels alone: of two or more pictures at least one,
    unless the share is 0.
    """
    if share == 0 or len(pictures) < 2:
        return list(pictures), []
    held_out = first(pictures, max(1, round(share * len(pictures))))
    names = {each.digest for each in held_out}
    return [each for each in pictures if each.digest not in names], held_out


def first(pictures: Sequence[Picture], count: int) -> list[Picture]:
    """The first `count` by their digests, in the order of `pictures`: fewer are among more."""
    names = {each.digest for each in sorted(pictures, key=lambda each: each.digest)[:count]}
    return [each for each in pictures if each.digest in names]


def digest(pictures: Sequence[Picture]) -> str:
    """SHA-256 over the pictures' digests, a line each, as data sets have it."""
    return sha256("\n".join(picture.digest for picture in pictures).encode()).hexdigest()
