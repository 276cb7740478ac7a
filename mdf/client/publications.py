"""What `client.losses` and `client.models` share: a catalogue of things that come as files."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from mdf.client.downloads import download
from mdf.client.pages import iterate, page
from mdf.client.records import Deleted, Loss, Model, Page, parse
from mdf.client.transport import Transport
from mdf.errors import ApiError, MDFError

Published = TypeVar("Published", bound=Loss | Model)

# The server takes up to two minutes to read a file and write it in its formats.
_IMPORT_SECONDS = 180.0


class Publications(Generic[Published]):
    """The catalogue of `record` below `path`, such as `/v1/losses`."""

    def __init__(self, transport: Transport, record: type[Published], path: str) -> None:
        self._transport = transport
        self._record = record
        self._path = path

    def get(self, id: str) -> Published:
        """One of them."""
        return parse(self._record, self._transport.get(f"{self._path}/{id}"))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Published]:
        """One page, newest first."""
        return page(self._transport, self._record, self._path, limit=limit, cursor=cursor)

    def iterate(self) -> Iterator[Published]:
        """All, newest first, fetched a page at a time."""
        return iterate(self._transport, self._record, self._path)

    def download(
        self,
        id: str,
        target: str | Path,
        *,
        format: str = "safetensors",
        on_bytes: Callable[[int], None] | None = None,
    ) -> Path:
        """Save it as the file `target`, in one of the formats that its `files` name.

        Those are `safetensors`, `pth` and `pt2` of a loss, `safetensors`, `onnx` and `pt2` of
        a model.
        """
        files = {file.format: file for file in self.get(id).files}
        if format not in files:
            raise MDFError(
                f"{id} has no file in the format {format!r}; it has: {', '.join(files) or 'none'}"
            )
        return download(
            self._transport,
            f"{self._path}/{id}/content",
            Path(target),
            digest=files[format].sha256,
            on_bytes=on_bytes,
            format=format,
        )

    def card(self, id: str) -> str:
        """What it is, in Markdown: where it comes from, how it was made, how to use it."""
        return self._transport.get_text(f"{self._path}/{id}/card")

    def rename(self, id: str, name: str) -> Published:
        """Call it `name`; its files stay what they are."""
        answer = self._transport.act(f"{self._path}/{id}", method="PATCH", json={"name": name})
        return parse(self._record, answer)

    def delete(self, id: str) -> Deleted:
        """Remove it and its files."""
        return parse(Deleted, self._transport.act(f"{self._path}/{id}", method="DELETE"))

    def _import(
        self, file: str | Path, name: str | None, described: Mapping[str, Any]
    ) -> Published:
        """Upload `file` with what is known of it: fields of the form that hold JSON."""
        path = Path(file)
        fields = {"name": name or path.stem}
        fields |= {key: json.dumps(value) for key, value in described.items() if value is not None}
        with path.open("rb") as content:
            upload = {"file": (path.name, content)}
            try:
                answer = self._transport.create(
                    f"{self._path}/import", at_least=_IMPORT_SECONDS, files=upload, data=fields
                )
            except ApiError as error:
                raise error.about(path) from error
        return parse(self._record, answer)
