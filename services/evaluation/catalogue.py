"""The catalogue of evaluations. Each goes with its job, whose files its values and pictures are."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.access import Caller
from services.database.schema import Artifact, Evaluation, Job, JobSample, now
from services.errors import NotFoundError
from services.evaluation.spec import INPUT
from services.ids import new_id
from services.installation import Installation
from services.listing import Page, newest_first

ARTIFACT = "evaluation"
REFERENCE = "reference"


@dataclass(frozen=True)
class ImageScores:
    """One image of an evaluation.

    Attributes:
        position: among those that were measured, from 0.
        dataset_position: in the data set.
        name: in the data set.
        width: of what was measured, px.
        height: of what was measured, px.
        values: by model, or `input`, and metric.
        pictures: samples of the job, if there are any: by model, `input` or `reference`.
    """

    position: int
    dataset_position: int
    name: str
    width: int
    height: int
    values: dict[str, dict[str, float]]
    pictures: dict[str, str]


def add(session: Session, *, job: Job, summary: dict[str, Any]) -> Evaluation:
    """Publish what `job` found out. Once: the table allows one evaluation per job."""
    row = Evaluation(
        id=new_id("eval"),
        owner=job.owner,
        job_id=job.id,
        name=job.name,
        summary=summary,
        created=now(),
    )
    session.add(row)
    session.flush()
    return row


def get(session: Session, evaluation_id: str, caller: Caller) -> Evaluation:
    """The evaluation, if the caller may see it."""
    query = select(Evaluation).where(Evaluation.id == evaluation_id, caller.sees(Evaluation.owner))
    found = session.scalar(query)
    if found is None:
        raise NotFoundError(f"no evaluation {evaluation_id}")
    return found


def list_evaluations(
    session: Session, caller: Caller, *, limit: int = 50, cursor: str | None = None
) -> Page[Evaluation]:
    """The evaluations that the caller may see, newest first."""
    query = select(Evaluation).where(caller.sees(Evaluation.owner))
    return newest_first(session, query, Evaluation.id, limit=limit, cursor=cursor)


def scores(installation: Installation, evaluation: Evaluation) -> list[ImageScores]:
    """Every image's values, in the order in which they were measured."""
    with installation.database.read() as session:
        mine = Artifact.job_id == evaluation.job_id, Artifact.kind == ARTIFACT
        file = session.scalars(select(Artifact).where(*mine)).one()
        query = select(JobSample).where(JobSample.job_id == evaluation.job_id)
        pictures = _pictures(session.scalars(query).all(), evaluation.summary)
    of = f"evaluation {evaluation.id}"
    report = json.loads(installation.blobs.read(file.blob, sha256=file.sha256, of=of))
    return [
        ImageScores(
            **{name: image[name] for name in image if name != "digest"},
            pictures=pictures.get(image["position"], {}),
        )
        for image in report["images"]
    ]


def picture_kind(shown: str, number: int) -> str:
    """What the job's sample is called that shows the candidate of that number, or another."""
    return shown if shown in (INPUT, REFERENCE) else f"restored-{number}"


def _pictures(samples: Collection[JobSample], summary: dict[str, Any]) -> dict[int, dict[str, str]]:
    """Ids of samples by position of their image, and by what they show."""
    shown = [*(each["id"] for each in summary["candidates"]), REFERENCE]
    kinds = {picture_kind(each, number): each for number, each in enumerate(shown)}
    found: dict[int, dict[str, str]] = {}
    for sample in samples:
        found.setdefault(sample.step - 1, {})[kinds[sample.kind]] = sample.id
    return found
