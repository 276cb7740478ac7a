"""`client.losses`: the catalogue of trained and imported losses."""

from pathlib import Path
from typing import Any

from mdf.client.publications import Publications
from mdf.client.records import Comparison, Loss, parse
from mdf.client.transport import Transport


class Losses(Publications[Loss]):
    """List, download, import, compare and delete losses."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport, Loss, "/v1/losses")

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
        return self._import(file, name, {"task": task})

    def compare(
        self,
        loss_id: str,
        image_id: str,
        reference_image_id: str,
        *,
        maps: bool = False,
        gradient: bool = False,
    ) -> Comparison:
        """The loss of one stored image against another, with its share per scale and tap."""
        answer = self._transport.act(
            f"/v1/losses/{loss_id}/compare",
            json={
                "image_id": image_id,
                "reference_image_id": reference_image_id,
                "maps": maps,
                "gradient": gradient,
            },
        )
        return parse(Comparison, answer)
