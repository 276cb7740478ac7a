"""`client.models`: the catalogue of trained and imported restoration networks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdf.client.ids import is_id
from mdf.client.publications import Publications
from mdf.client.records import Image, Job, Model, parse
from mdf.client.transport import Transport
from mdf.errors import ApiError

# What the server may need beyond the time that it was asked to answer within, in seconds.
_GRACE = 30.0


class Models(Publications[Model]):
    """List, download, import, use and delete models."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport, Model, "/v1/models")

    def import_file(
        self,
        file: str | Path,
        *,
        name: str | None = None,
        network: Mapping[str, Any] | None = None,
        task: Mapping[str, Any] | None = None,
    ) -> Model:
        """Add a model file to the catalogue: ours, or a public checkpoint.

        A public one is a safetensors file or a `.pth` of a state dict of EDSR, SRResNet, DnCNN
        or RRDBNet, which is never executed.

        Args:
            file: its path.
            name: what to call it; default: the file's name.
            network: what it is, such as `{"kind": "dncnn", "depth": 20}`, where the names and
                shapes of its weights do not tell.
            task: what it was trained for, such as `{"kind": "jpeg", "quality": 40}`.
        """
        return self._import(file, name, {"network": network, "task": task})

    def restore(
        self,
        model_id: str,
        image: str | Path | bytes | Image,
        *,
        format: str = "png",
        quality: int | None = None,
        wait: float | None = 30.0,
    ) -> bytes | Job:
        """Restore one image; small ones come back at once.

        Args:
            model_id: `model_…`.
            image: a path or the bytes of a PNG, JPEG, WebP or TIFF file; or the id (`img_…`)
                or record of an image on the server.
            format: of the restored image: `png`, `jpeg` or `webp`.
            quality: of JPEG and WebP, 1 to 100.
            wait: seconds that the answer may take; None asks for a job in any case.

        Returns: the restored image's file, or the job that restores it if the image is large or
        the service busy. Its result is the artifact `restored`: see `Jobs.download_artifact`.
        """
        headers = {} if wait is None else {"Prefer": f"wait={wait:.0f}"}
        params = {"format": format} | ({} if quality is None else {"quality": str(quality)})

        def ask(**content: Any) -> bytes | Job:
            response = self._transport.creation(
                f"{self._path}/{model_id}/restore",
                headers=headers,
                params=params,
                at_least=_GRACE + (wait or 0),
                **content,
            )
            if response.status_code == 202:
                return parse(Job, response.json())
            return response.content

        if isinstance(image, Image):
            return ask(json={"image_id": image.id})
        if is_id(image, "img"):
            return ask(json={"image_id": image})
        if isinstance(image, bytes):
            return ask(files={"file": ("image", image)})
        path = Path(image)
        with path.open("rb") as content:
            try:
                return ask(files={"file": (path.name, content)})
            except ApiError as error:
                raise error.about(path) from error
