"""What owners have, summed over the rows."""

import numpy as np
import pytest

from services import usage
from services.access import LOCAL
from services.database.schema import (
    Artifact,
    Dataset,
    DatasetPart,
    Image,
    Job,
    JobSample,
    Loss,
    LossFile,
    Model,
    ModelFile,
    now,
)
from services.usage import Usage, Use

NOBODY = Usage()


@pytest.fixture
def add(installation):
    """Add rows."""

    def add(*rows):
        with installation.database.write() as session:
            for row in rows:
                session.add(row)
                session.flush()

    return add


def job(job_id, owner, **fields):
    return Job(
        id=job_id,
        owner=owner,
        type="discriminator_training",
        name="",
        spec={},
        desired_state="run",
        priority=0,
        attempt=0,
        token=0,
        last_seq=0,
        created=now(),
        queued=now(),
        run_seconds=0.0,
        **{"state": "queued"} | fields,
    )


def publication(row, file_row, name, owner, sizes):
    files = [
        file_row(**{f"{name}_id": f"{name}_{owner}"}, format=form, blob=form, size=size, sha256="")
        for form, size in sizes.items()
    ]
    made = row(id=f"{name}_{owner}", owner=owner, name="", manifest={}, sha256="0", created=now())
    return [made, *files]


def everything(owner, number):
    """One of each kind; sizes are powers of ten, times `number`."""
    job_id = f"job_{owner}"
    common = {"job_id": job_id, "blob": "b", "created": now()}
    return [
        Image(
            id=f"img_{owner}",
            owner=owner,
            digest="d",
            blob="b",
            name="",
            width=1,
            height=1,
            size=number,
            sha256="",
            source={},
            created=now(),
        ),
        *publication(Loss, LossFile, "loss", owner, {"pth": 10 * number, "pt2": 20 * number}),
        *publication(Model, ModelFile, "model", owner, {"onnx": 100 * number}),
        job(job_id, owner, state="failed", checkpoint="c", checkpoint_size=1000 * number),
        # Its checkpoint is gone.
        job(f"{job_id}_2", owner, state="succeeded", checkpoint_size=7),
        JobSample(id=f"a{owner}", scale=1, step=1, kind="k", size=10_000 * number, **common),
        JobSample(id=f"b{owner}", scale=1, step=2, kind="k", size=10_000 * number, **common),
        Artifact(
            id=f"art_{owner}",
            kind="k",
            media_type="",
            size=100_000 * number,
            sha256="",
            **common,
        ),
    ]


def expected(number):
    return {
        "images": Use(1, number),
        "datasets": Use(),
        "losses": Use(1, 30 * number),
        "models": Use(1, 100 * number),
        "samples": Use(2, 20_000 * number),
        "artifacts": Use(1, 100_000 * number),
        "checkpoints": Use(1, 1000 * number),
    }


def test_each_kind_counts_for_its_owner(installation, add):
    add(*everything("anna", 1), *everything("bert", 3))
    add(job("r", "bert", state="running"), job("c", "bert", state="canceling"), job("q", "bert"))
    with installation.database.read() as session:
        anna, bert = usage.of_owner(session, "anna"), usage.of_owner(session, "bert")
        assert usage.of_all(session) == {"anna": anna, "bert": bert}
        assert usage.stored_bytes(session, "anna") == anna.stored_bytes == 121_131
        assert usage.queued_jobs(session, "bert") == 1
        assert usage.of_owner(session, "nobody") == NOBODY
        assert usage.stored_bytes(session, "nobody") == 0
    assert dict(anna.kinds) == expected(1)
    assert dict(bert.kinds) == expected(3)
    assert (anna.queued_jobs, anna.running_jobs) == (0, 0)
    assert (bert.queued_jobs, bert.running_jobs) == (1, 2)


def test_a_data_set_counts_its_pictures_and_what_has_come_of_its_archive(
    installation, add, add_dataset
):
    black, white = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    add_dataset({"a.png": black, "b.png": white})
    add_dataset({"a.png": black})
    empty = Dataset(
        id="ds_empty",
        owner=LOCAL.owner,
        name="",
        source={},
        on_bad_file="skip",
        size=1000,
        received=0,
        images=0,
        pixels=0,
        bad_files=[],
        bad_file_count=0,
        created=now(),
    )
    add(empty, DatasetPart(dataset_id="ds_empty", offset=0, size=400, blob="b"))
    sizes = {key: len(installation.blobs.get(key)) for key in installation.blobs.keys("datasets")}
    with installation.database.read() as session:
        found = usage.of_owner(session, LOCAL.owner).kinds["datasets"]
    assert len(sizes) == 2  # two data sets share a file, and each counts it
    shared = next(size for size in sizes.values() if found.size - sum(sizes.values()) - 400 == size)
    assert found == Use(3, sum(sizes.values()) + shared + 400)
