"""Losses in the catalogue: when their files go."""

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from services.access import LOCAL
from services.database.schema import Loss
from services.installation import Installation
from services.losses import catalogue

CONTENTS = {"safetensors": b"weights", "pth": b"state dicts"}


def add(installation: Installation) -> Loss:
    with installation.database.write() as session:
        files = catalogue.store(session, installation.blobs, CONTENTS)
        return catalogue.add_imported(
            session, caller=LOCAL, name="mine", manifest={"task": {"kind": "jpeg"}}, files=files
        )


def test_files_go_with_the_last_loss_that_has_them(installation: Installation) -> None:
    first, twin = add(installation), add(installation)
    kept = installation.blobs.keys("losses")
    assert len(kept) == 2
    catalogue.delete(installation.database, installation.blobs, first.id, LOCAL)
    assert installation.blobs.keys("losses") == kept
    catalogue.delete(installation.database, installation.blobs, twin.id, LOCAL)
    assert installation.blobs.keys("losses") == []


def test_a_deletion_that_does_not_commit_keeps_the_files(installation: Installation) -> None:
    loss = add(installation)

    def fail(_: Session) -> None:
        raise OSError("no commit")

    event.listen(Session, "before_commit", fail)
    try:
        with pytest.raises(OSError, match="no commit"):
            catalogue.delete(installation.database, installation.blobs, loss.id, LOCAL)
    finally:
        event.remove(Session, "before_commit", fail)
    assert len(installation.blobs.keys("losses")) == 2
    with installation.database.read() as session:
        assert catalogue.get(session, loss.id, LOCAL).name == "mine"


def test_a_loss_is_renamed(installation: Installation) -> None:
    loss = add(installation)
    with installation.database.write() as session:
        catalogue.rename(session, loss.id, "faces", LOCAL)
    with installation.database.read() as session:
        assert catalogue.get(session, loss.id, LOCAL).name == "faces"
        assert catalogue.trainings(session, [loss]) == {}
