"""The catalogue of images: one row per owner and picture, one blob per picture."""

import io
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from sqlalchemy import Row, func, select, update
from sqlalchemy.orm import Session

from services import quotas
from services.access import Caller
from services.blobs import Blobs, StoredFile
from services.database import Database, hold, let_stand_still
from services.database.schema import Image, now
from services.errors import BadInputError, NotFoundError, Problem
from services.ids import new_id
from services.images.decoder_process import Picture, write_png
from services.images.decoding import DecodedImage
from services.jobs.uses import check_unused
from services.listing import Page, newest_first

Listed = Row[str, str, str, int, int]  # id, digest, name, width and height


def add(
    session: Session, blobs: Blobs, decoded: DecodedImage, *, name: str, caller: Caller
) -> tuple[Image, bool]:
    """Keep an image for `caller`; the second value is false if the caller had it already."""
    hold(session, decoded.digest)
    owned = select(Image).where(Image.owner == caller.owner, Image.digest == decoded.digest)
    image = session.scalar(owned)
    if image is None:
        quotas.check_storage(session, caller, len(decoded.png))
    stored = _stored(session, decoded.digest)
    # Who has it and sends it again may want its file mended. Of others' no more than the size is
    # looked at: nobody else can write meanwhile.
    is_there = Blobs.is_whole if image is not None else Blobs.holds
    if stored is None or not is_there(blobs, stored):
        stored = blobs.put(blob_key(decoded.digest), decoded.png)
        # Others whose file was missing or damaged have it again, perhaps by another encoder.
        same = update(Image).where(Image.digest == decoded.digest)
        session.execute(same.values(size=stored.size, sha256=stored.sha256))
    if image is not None:
        return image, False
    image = Image(
        id=new_id("img"),
        owner=caller.owner,
        digest=decoded.digest,
        blob=stored.blob,
        name=name,
        width=decoded.width,
        height=decoded.height,
        size=stored.size,
        sha256=stored.sha256,
        source=decoded.source,
        created=now(),
    )
    session.add(image)
    session.flush()
    return image, True


def get(session: Session, image_id: str, caller: Caller) -> Image:
    """The image, if the caller may see it."""
    query = select(Image).where(Image.id == image_id, caller.sees(Image.owner))
    image = session.scalar(query)
    if image is None:
        raise NotFoundError(f"no image {image_id}")
    return image


def read(blobs: Blobs, image: Image) -> bytes:
    """The PNG of an image; StorageError that names it if its file is missing or damaged."""
    return blobs.read(image.blob, sha256=image.sha256, of=f"image {image.id}")


def referenced(session: Session, image_id: str, caller: Caller, pointer: str) -> Image:
    """The image that a request's body names at `pointer`; BadInputError if there is none."""
    try:
        return get(session, image_id, caller)
    except NotFoundError as error:
        raise _not_there(image_id, pointer) from error


def all_referenced(
    session: Session, image_ids: Sequence[str], caller: Caller, pointer: str
) -> list[Listed]:
    """The images that a request's body names in the list at `pointer`, in its order.

    Raises: BadInputError that points to the first that is not there.
    """
    # A thousand may be asked for while others wait to write: one query, and no objects of its rows.
    columns = select(Image.id, Image.digest, Image.name, Image.width, Image.height)
    query = columns.where(Image.id.in_(image_ids), caller.sees(Image.owner))
    found = {image.id: image for image in session.execute(query)}
    for place, image_id in enumerate(image_ids):
        if image_id not in found:
            raise _not_there(image_id, f"{pointer}/{place}")
    return [found[image_id] for image_id in image_ids]


def of_digests(session: Session, digests: Collection[str], caller: Caller) -> dict[str, Image]:
    """The images of those pixels that the caller may see, by digest."""
    query = select(Image).where(Image.digest.in_(digests), caller.sees(Image.owner))
    return {image.digest: image for image in session.scalars(query.order_by(Image.id.desc()))}


def list_images(
    session: Session, caller: Caller, *, limit: int = 50, cursor: str | None = None
) -> Page[Image]:
    """The images that the caller may see, newest first."""
    query = select(Image).where(caller.sees(Image.owner))
    return newest_first(session, query, Image.id, limit=limit, cursor=cursor)


def delete(database: Database, blobs: Blobs, image_id: str, caller: Caller) -> int:
    """Forget an image; its blob goes with the last row that refers to it.

    Returns: how many bytes that has freed, as far as the caller may know: of those who have the
    same picture, only an admin learns.
    Raises: ConflictError while a job that is not finished uses it.
    """
    with database.write() as session:
        # Held, and then looked at once more: no job takes it before it is gone.
        hold(session, get(session, image_id, caller).digest)
        image = get(session, image_id, caller)
        check_unused(session, image.id, "image", caller)
        session.delete(image)
        session.flush()
        others = select(Image.id).where(Image.digest == image.digest, caller.sees(Image.owner))
        freed = 0 if session.scalar(others.limit(1)) else image.size
    # After the commit: no row may be left without its blob.
    free(database, blobs, image.digest)
    return freed


def free(database: Database, blobs: Blobs, digest: str) -> bool:
    """Remove the blob of those pixels if no image has them; says whether it did."""
    # Held, so that nobody refers to the blob between the count and its end.
    with database.write() as session:
        let_stand_still(session)
        hold(session, digest)
        if session.scalar(select(func.count()).where(Image.digest == digest)):
            return False
        blobs.delete(blob_key(digest))
        return True


def blob_key(digest: str) -> str:
    """Where the image with those pixels lies."""
    return f"images/{digest}.png"


def from_pixels(pixels: NDArray[np.uint8], source: dict[str, Any]) -> DecodedImage:
    """An image that the service made itself: (H, W, 3) in RGB, as for `add`.

    Encoded as uploads are: the size of a file must not tell that somebody else has those pixels.
    """
    picture = Picture(PIL.Image.fromarray(pixels))
    png = io.BytesIO()
    digest = write_png(picture, "RGB", png)
    width, height = picture.size
    return DecodedImage(
        png=png.getvalue(), digest=digest, width=width, height=height, source=source
    )


def pixels(png: bytes) -> NDArray[np.uint8]:
    """The pixels, (H, W, 3) in RGB, of a PNG that this catalogue keeps, laid over white."""
    with PIL.Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        if image.mode != "RGBA":
            return np.asarray(image.convert("RGB"))
        paper = PIL.Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image)
        return np.asarray(paper.convert("RGB"))


def _not_there(image_id: str, pointer: str) -> BadInputError:
    problem = Problem(pointer, "no such image")
    return BadInputError(f"there is no image {image_id}", problems=(problem,))


def _stored(session: Session, digest: str) -> StoredFile | None:
    """The blob of the same pixels, if any owner has them."""
    row = session.scalar(select(Image).where(Image.digest == digest).limit(1))
    if row is None:
        return None
    return StoredFile(blob=row.blob, size=row.size, sha256=row.sha256)
