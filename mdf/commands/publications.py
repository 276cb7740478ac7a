"""What `mdf losses` and `mdf models` do alike: save, describe and remove."""

from pathlib import Path
from typing import TypeVar

from rich.markdown import Markdown

from mdf.client import Loss, Model
from mdf.client.publications import Publications
from mdf.commands.terminal import file_name, out, print_json, tell_deleted

Published = TypeVar("Published", bound=Loss | Model)


def save(
    catalogue: Publications[Published],
    id: str,
    target: Path | None,
    *,
    file_format: str,
    as_json: bool,
) -> None:
    """Download one of them as the file `target`, or into that folder under its own name."""
    found = catalogue.get(id)
    name = f"{file_name(found.name) or found.id}.{file_format}"
    path = Path(name) if target is None else target / name if target.is_dir() else target
    catalogue.download(found.id, path, format=file_format)
    if as_json:
        print_json({"id": found.id, "path": str(path)})
    else:
        out.print(str(path), markup=False, soft_wrap=True)


def print_card(catalogue: Publications[Published], id: str, *, as_json: bool) -> None:
    """Print what one of them is."""
    text = catalogue.card(id)
    if as_json:
        print_json({"id": id, "card": text})
    elif out.is_terminal:
        out.print(Markdown(text))
    else:
        out.print(text, markup=False, soft_wrap=True)


def delete(catalogue: Publications[Published], ids: list[str], *, as_json: bool) -> None:
    """Remove them and their files."""
    tell_deleted(map(catalogue.delete, ids), as_json=as_json)
