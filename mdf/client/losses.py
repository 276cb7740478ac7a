"""`client.losses`: the catalogue of trained and imported losses."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mdf.client.downloads import download
from mdf.client.pages import iterate, page
from mdf.client.records import Comparison, Loss, Page, parse
from mdf.client.transport import Transport
from mdf.errors import ApiError, MDFError


class Losses:
    """List, download, import, compare and delete losses."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, loss_id: str) -> Loss:
        """One loss."""
        return parse(Loss, self._transport.get(f"/v1/losses/{loss_id}"))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Loss]:
        """One page of losses, newest first."""
        return page(self._transport, Loss, "/v1/losses", limit=limit, cursor=cursor)

    def iterate(self) -> Iterator[Loss]:
        """All losses, newest first, fetched a page at a time."""
        return iterate(self._transport, Loss, "/v1/losses")

    def download(
        self,
        loss_id: str,
        target: str | Path,
        *,
        format: str = "safetensors",
        on_bytes: Callable[[int], None] | None = None,
    ) -> Path:
        """Save the loss as the file `target`, in `safetensors`, `pth` or `pt2`."""
        files = {file.format: file for file in self.get(loss_id).files}
        if format not in files:
            raise MDFError(
                f"loss {loss_id} has no file in the format {format!r}; "
                f"it has: {', '.join(files) or 'none'}"
            )
        return download(
            self._transport,
            f"/v1/losses/{loss_id}/content",
            Path(target),
            digest=files[format].sha256,
            on_bytes=on_bytes,
            format=format,
        )

    def card(self, loss_id: str) -> str:
        """What the loss is, in Markdown: origin, recipe, seeds, how to use it."""
        return self._transport.get_text(f"/v1/losses/{loss_id}/card")

    def import_file(
        self,
        file: str | Path,
        *,
        name: str | None = None,
        task: dict[str, Any] | None = None,
    ) -> Loss:
        """Add a loss file to the catalogue: ours, or the authors' published `.pth`.

        `task`, such as `{"kind": "jpeg", "quality": [7, 10]}`, says what a published file was
        trained for, which the file itself does not.
        """
        path = Path(file)
        fields = {"name": name or path.stem}
        if task is not None:
            fields["task"] = json.dumps(task)
        with path.open("rb") as content:
            upload = {"file": (path.name, content)}
            try:
                answer = self._transport.create("/v1/losses/import", files=upload, data=fields)
            except ApiError as error:
                raise error.about(path) from error
        return parse(Loss, answer)

    def compare(
        self, loss_id: str, image_id: str, reference_image_id: str, *, maps: bool = False
    ) -> Comparison:
        """The loss of one stored image against another, with its share per scale and tap."""
        answer = self._transport.act(
            f"/v1/losses/{loss_id}/compare",
            json={"image_id": image_id, "reference_image_id": reference_image_id, "maps": maps},
        )
        return parse(Comparison, answer)

    def delete(self, loss_id: str) -> None:
        """Remove a loss and its files."""
        self._transport.act(f"/v1/losses/{loss_id}", method="DELETE")
