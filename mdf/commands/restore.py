"""`mdf restore`: images through a restoration network, on a server or here."""

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from mdf.client import Client, Job
from mdf.client.ids import is_id
from mdf.commands.connection import ApiKey, AsJson, Url, connect
from mdf.commands.following import watch_to_success
from mdf.commands.terminal import out, print_json

SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


def restore(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="Image files, ids of images, or a data set's id."),
    ],
    *,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="A model's id, or a model's file.")
    ],
    folder: Annotated[
        Path,
        typer.Option("--out", "-o", file_okay=False, help="Folder for the restored images."),
    ] = Path(),
    file_format: Annotated[
        str, typer.Option("--format", metavar="png|jpeg|webp", help="Form of the restored images.")
    ] = "png",
    quality: Annotated[
        int | None,
        typer.Option("--quality", min=1, max=100, help="Of JPEG and WebP.", show_default="95"),
    ] = None,
    local: Annotated[
        bool,
        typer.Option("--local", help="Restore in this process, without a server; needs a file."),
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Restore images. Prints where the restored ones are."""
    if file_format not in SUFFIXES:
        raise typer.BadParameter(
            f"unknown format {file_format!r}; there are {', '.join(SUFFIXES)}",
            param_hint="--format",
        )
    if file_format == "png" and quality is not None:
        raise typer.BadParameter("--quality belongs to --format jpeg and webp, not to png")
    _check_files(images, model, local=local)
    if local:
        from mdf.commands.local_restoration import restore_here

        paths = [folder / name for name in _restored_names(images, file_format)]
        files = [Path(image) for image in images]
        restore_here(files, Path(model), paths, file_format=file_format, quality=quality)
    else:
        with connect(url, api_key) as client:
            model_id = model if is_id(model, "model") else client.models.import_file(model).id
            paths = _restore(
                client, images, model_id, folder, file_format=file_format, quality=quality
            )
    if as_json:
        print_json([str(path) for path in paths])
    else:
        for path in paths:
            out.print(str(path), markup=False, soft_wrap=True)


def _restore(
    client: Client,
    images: Sequence[str],
    model_id: str,
    folder: Path,
    *,
    file_format: str,
    quality: int | None,
) -> list[Path]:
    """Restore on the server: one image at once if it is small, all else by a job."""
    if is_id(images[0], "ds"):
        job = client.restore(images[0], model_id, format=file_format, quality=quality)
        watch_to_success(client, job)
        return [_write(folder / _beside(name), file) for name, file in _results(client, job)]
    targets = [folder / name for name in _restored_names(images, file_format)]
    if len(images) == 1:
        found = client.models.restore(model_id, images[0], format=file_format, quality=quality)
        if isinstance(found, bytes):
            return [_write(targets[0], found)]
        watch_to_success(client, found)
        return [_write(targets[0], file) for _, file in _results(client, found)]
    ids = [image if is_id(image, "img") else client.images.upload(image).id for image in images]
    once = list(dict.fromkeys(ids))  # two files may have the same pixels
    job = client.restore(once, model_id, format=file_format, quality=quality)
    watch_to_success(client, job)
    for restored_id, (_, file) in zip(once, _results(client, job), strict=True):
        for image_id, target in zip(ids, targets, strict=True):
            if image_id == restored_id:
                _write(target, file)
    return targets


def _results(client: Client, job: Job) -> Iterator[tuple[str, bytes]]:
    """Name and content of every image that a job has restored, in the order of its spec."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "restored"
        client.jobs.download_artifact(job.id, "restored", path)
        kinds = {artifact.kind: artifact.media_type for artifact in client.jobs.artifacts(job.id)}
        if kinds["restored"] != "application/zip":
            yield "restored", path.read_bytes()
            return
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield name, archive.read(name)


def _write(target: Path, content: bytes) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


def _beside(name: str) -> Path:
    """`sub/photo-restored.png` for `sub/photo.png` in a data set; never outside of the folder."""
    path = PurePosixPath(name)
    parts = [part for part in path.parts if part not in ("..", "/")]
    return Path(*parts).with_name(f"{path.stem}-restored{path.suffix}")


def _restored_names(images: Sequence[str], file_format: str) -> list[str]:
    """`photo-restored.png` for `photo.jpg`, `photo-restored-2.png` for the next of that name."""
    names: list[str] = []
    for image in images:
        stem, suffix = f"{Path(image).stem}-restored", SUFFIXES[file_format]
        name, count = f"{stem}{suffix}", 1
        while name in names:
            count += 1
            name = f"{stem}-{count}{suffix}"
        names.append(name)
    return names


def _check_files(images: Sequence[str], model: str, *, local: bool) -> None:
    if any(is_id(image, "ds") for image in images) and len(images) > 1:
        raise typer.BadParameter("a data set is restored by itself", param_hint="IMAGE")
    for image in images:
        known = is_id(image, "img") or is_id(image, "ds")
        if not (known and not local) and not Path(image).is_file():
            raise typer.BadParameter(f"there is no file {image}", param_hint="IMAGE")
    if not (is_id(model, "model") and not local) and not Path(model).is_file():
        raise typer.BadParameter(
            f"there is no file {model}" + ("; --local needs one" if local else ""),
            param_hint="--model",
        )
