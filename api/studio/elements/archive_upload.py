"""Uploads of archives that become data sets: in parts, with progress, taken up where they broke."""

from collections.abc import Callable
from typing import Any

from nicegui.element import Element

from api.studio.frame import style
from services.database.schema import Dataset


class ArchiveUpload(Element, component="archive_upload.js"):
    """Makes a data set of an archive, or sends what is missing of one.

    Args:
        on_done: is given the data set's id when all bytes are there.
        on_created: is given it when the data set is begun.
        unfinished: the data set whose upload to go on with.
    """

    def __init__(
        self,
        *,
        on_done: Callable[[str], Any],
        on_created: Callable[[str], Any] | None = None,
        unfinished: Dataset | None = None,
    ) -> None:
        super().__init__()
        style("upload")
        style("archive_upload")
        if unfinished is None:
            self.props["label"] = "Drop an archive of pictures here, or choose one"
        else:
            self.props["label"] = "Drop the same archive here, or choose it"
            self.props["dataset"] = unfinished.id
            self.props["size"] = unfinished.size
        self.on("done", lambda event: on_done(event.args))
        if on_created is not None:
            self.on("created", lambda event: on_created(event.args))
