"""`client.evaluations`: what came of comparing models by measurement."""

from collections.abc import Iterator

from mdf.client.pages import iterate, page
from mdf.client.records import Evaluation, ImageScores, Page, parse
from mdf.client.transport import Transport

_PATH = "/v1/evaluations"


class Evaluations:
    """Look at evaluations; `Client.evaluate` starts one, and each goes with its job."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, evaluation_id: str) -> Evaluation:
        """One evaluation, with its figures."""
        return parse(Evaluation, self._transport.get(f"{_PATH}/{evaluation_id}"))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Evaluation]:
        """One page, newest first; without their figures."""
        return page(self._transport, Evaluation, _PATH, limit=limit, cursor=cursor)

    def iterate(self) -> Iterator[Evaluation]:
        """All, newest first, fetched a page at a time; without their figures."""
        return iterate(self._transport, Evaluation, _PATH)

    def values(self, evaluation_id: str) -> Iterator[ImageScores]:
        """Every image's values, in the order in which they were measured."""
        return iterate(self._transport, ImageScores, f"{_PATH}/{evaluation_id}/values", limit=200)
