"""`/v1/models`: list, download, import, delete."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from fastapi import Path as PathParameter
from fastapi.responses import PlainTextResponse
from pydantic import JsonValue, TypeAdapter
from sqlalchemy.orm import Session

from api.access import Reader, Writer
from api.bodies import JSON_TEXT, NOT_EMPTY, StrictRoute, read_form_json
from api.creation import Created, Creating
from api.downloads import RESPONSES, download, plain_name
from api.errors import documented
from api.paging import Cursor, Limit, PageOut, link_next
from api.runtime import Installed, Shared
from api.schemas import DeletedOut, ModelFormat, ModelOut, Name, NameChange
from services import quotas
from services.errors import BadModelFileError
from services.installation import Installation
from services.phase2.tasks import AnyTask
from services.restorers import catalogue, importing
from services.restorers.card import write_card

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=StrictRoute)

ModelId = Annotated[str, PathParameter(description="`model_…`", max_length=64)]
_SCRATCH = "import-"  # how the folder of an import begins
_SCRATCH_SECONDS = 3600  # after which nobody works in it any more
_network = TypeAdapter[Any](dict[str, JsonValue])
_task = TypeAdapter[Any](AnyTask)


@router.get("", operation_id="list_models")
def list_models(
    *,
    request: Request,
    response: Response,
    caller: Reader,
    installed: Installed,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageOut[ModelOut]:
    """The caller's models, newest first."""
    with installed.database.read() as session:
        page = catalogue.list_models(session, caller, limit=limit, cursor=cursor)
        link_next(request, response, cursor=page.next_cursor)
        data = [ModelOut.of(model, catalogue.files(session, model.id)) for model in page.items]
        return PageOut(data=data, next_cursor=page.next_cursor)


@router.post(
    "/import",
    status_code=201,
    response_model=ModelOut,
    operation_id="import_model",
    responses=documented(409, 507),
)
async def import_model(
    *,
    caller: Writer,
    creation: Creating,
    shared: Shared,
    file: Annotated[
        UploadFile,
        File(
            description="safetensors, or a state dict as .pth of a network that is known",
            json_schema_extra=NOT_EMPTY,
        ),
    ],
    name: Annotated[Name, Form(description="default: the file's name")] = "",
    network: Annotated[
        str,
        Form(
            description="JSON of the network, or of the hyperparameters that the file's tensors "
            "do not tell, such as `residual_scale`",
            json_schema_extra=JSON_TEXT,
        ),
    ] = "",
    task: Annotated[
        str,
        Form(description="JSON of the task that it was trained for", json_schema_extra=JSON_TEXT),
    ] = "",
) -> Response:
    """Add a model that was trained elsewhere. Of a pickle, tensors are read and nothing runs."""
    described = read_form_json("network", network, _network)
    trained_for = read_form_json("task", task, _task)
    if not file.size:
        raise BadModelFileError("the file is empty (0 bytes)")
    stem = plain_name(file.filename or "", "imported").rpartition(".")[0] or "imported"
    # By files, which neither this process nor a pipe has to hold whole.
    with _scratch_folder(shared.installation.settings.home_folder) as folder:
        given = folder / "given"
        await anyio.to_thread.run_sync(_receive, shared.installation, file, given)
        async with shared.restorers.turn(caller.owner) as bench:
            manifest = await bench.run(importing.convert, given, folder, described, trained_for)

        blobs = shared.installation.blobs
        contents = {form: folder / form for form in catalogue.MEDIA_TYPES}
        size = sum(path.stat().st_size for path in contents.values())

        def check() -> None:
            with shared.installation.database.read() as session:
                quotas.check_storage(session, caller, size)

        await anyio.to_thread.run_sync(check)
        put = await anyio.to_thread.run_sync(catalogue.put, blobs, contents)

        def keep(session: Session) -> Created:
            quotas.check_storage(session, caller, size)
            model = catalogue.add_imported(
                session,
                caller=caller,
                name=name or stem,
                manifest=manifest,
                files=catalogue.store(session, blobs, contents, put=put),
            )
            body = ModelOut.of(model, catalogue.files(session, model.id))
            return Created(status=201, body=body, location=f"/v1/models/{model.id}")

        return await anyio.to_thread.run_sync(creation.commit, keep)


@router.get("/{model_id}", operation_id="get_model", responses=documented(404))
def get_model(model_id: ModelId, caller: Reader, installed: Installed) -> ModelOut:
    """One model."""
    with installed.database.read() as session:
        model = catalogue.get(session, model_id, caller)
        return ModelOut.of(model, catalogue.files(session, model.id))


@router.get(
    "/{model_id}/content",
    operation_id="get_model_content",
    response_class=Response,
    responses=RESPONSES,
)
@router.head("/{model_id}/content", include_in_schema=False)
def get_model_content(
    request: Request,
    model_id: ModelId,
    caller: Reader,
    installed: Installed,
    file_format: Annotated[ModelFormat, Query(alias="format")] = "safetensors",
) -> Response:
    """The model as a file."""
    with installed.database.read() as session:
        model = catalogue.get(session, model_id, caller)
        file = catalogue.file(session, model.id, file_format)
    return download(
        request,
        installed.blobs,
        file,
        media_type=catalogue.MEDIA_TYPES[file_format],
        filename=f"{plain_name(model.name, model.id)}.{file_format}",
    )


@router.get(
    "/{model_id}/card",
    operation_id="get_model_card",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/markdown": {}}}, **documented(404)},
)
def get_model_card(model_id: ModelId, caller: Reader, installed: Installed) -> Response:
    """What the model is, how it was made and how to use it, in Markdown."""
    with installed.database.read() as session:
        model = catalogue.get(session, model_id, caller)
        card = write_card(model, catalogue.files(session, model.id))
    return Response(card, media_type="text/markdown; charset=utf-8")


@router.patch("/{model_id}", operation_id="change_model", responses=documented(404))
def change_model(
    model_id: ModelId, caller: Writer, installed: Installed, change: NameChange
) -> ModelOut:
    """Rename a model."""
    with installed.database.write() as session:
        model = catalogue.rename(session, model_id, change.name, caller)
        return ModelOut.of(model, catalogue.files(session, model.id))


@router.delete("/{model_id}", operation_id="delete_model", responses=documented(404, 409))
def delete_model(model_id: ModelId, caller: Writer, installed: Installed) -> DeletedOut:
    """Delete a model that no unfinished job needs; the job that trained it stays."""
    freed = catalogue.delete(installed.database, installed.blobs, model_id, caller)
    return DeletedOut(id=model_id, bytes_freed=freed)


@contextmanager
def _scratch_folder(home: Path) -> Iterator[Path]:
    """A folder for one import where large files belong; those that a kill has left are removed."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in home.glob(f"{_SCRATCH}*"):
        with suppress(FileNotFoundError):  # its import has just ended
            if time.time() - left.stat().st_mtime > _SCRATCH_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=home) as folder:
        yield Path(folder)


def _receive(installation: Installation, file: UploadFile, target: Path) -> None:
    """Copy what was sent to where the other process can read it, if there is room for it all."""
    installation.blobs.check_free((1 + len(catalogue.MEDIA_TYPES)) * (file.size or 0))
    with target.open("wb") as copied:
        shutil.copyfileobj(file.file, copied)
