"""`client.images`: the pictures that losses are trained on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mdf.client.downloads import download
from mdf.client.pages import iterate, page
from mdf.client.records import Deleted, Image, Page, parse
from mdf.client.transport import Transport
from mdf.errors import ApiError


class Images:
    """Upload, list and delete images."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(self, image: str | Path | bytes, *, name: str | None = None) -> Image:
        """Store a PNG, JPEG, WebP or TIFF file, given as a path or as its bytes.

        The same pixels uploaded twice are stored once: the first image comes back.
        """
        if isinstance(image, bytes):
            return self._upload(name or "image", image)
        path = Path(image)
        with path.open("rb") as content:
            try:
                return self._upload(name or path.name, content)
            except ApiError as error:
                raise error.about(path) from error

    def synthesize(self, kind: str, **parameters: Any) -> Image:
        """Make a synthetic seed: `pink-noise`, `contrast-rings` or `pyramid-permutation`."""
        return parse(
            Image,
            self._transport.create("/v1/images/synthesize", json={"kind": kind, **parameters}),
        )

    def get(self, image_id: str) -> Image:
        """One image."""
        return parse(Image, self._transport.get(f"/v1/images/{image_id}"))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Image]:
        """One page of images, newest first."""
        return page(self._transport, Image, "/v1/images", limit=limit, cursor=cursor)

    def iterate(self) -> Iterator[Image]:
        """All images, newest first, fetched a page at a time."""
        return iterate(self._transport, Image, "/v1/images")

    def download(
        self,
        image_id: str,
        target: str | Path,
        *,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Path:
        """Save an image as the PNG file `target`."""
        path = f"/v1/images/{image_id}/content"
        return download(self._transport, path, Path(target), on_bytes=on_bytes)

    def delete(self, image_id: str) -> Deleted:
        """Remove an image that no unfinished job needs."""
        return parse(Deleted, self._transport.act(f"/v1/images/{image_id}", method="DELETE"))

    def _upload(self, name: str, content: bytes | BinaryIO) -> Image:
        file = {"file": (name, content)}
        return parse(Image, self._transport.create("/v1/images", files=file))
