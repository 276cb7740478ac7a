"""The types of jobs, and the spec of each."""

from collections.abc import Mapping

from services.database.schema import Job
from services.datasets.spec import DatasetImport
from services.evaluation.spec import Evaluation
from services.phase1.recipe import DiscriminatorTraining
from services.phase2.recipe import RestorationTraining
from services.restoration.spec import Restoration

AnySpec = DiscriminatorTraining | RestorationTraining | Restoration | Evaluation | DatasetImport

SPECS: Mapping[str, type[AnySpec]] = {
    "discriminator_training": DiscriminatorTraining,
    "restoration_training": RestorationTraining,
    "restoration": Restoration,
    "evaluation": Evaluation,
    "dataset_import": DatasetImport,
}
# Such a job can end early with what is done so far; the others are done or not.
FINISHABLE = frozenset({"discriminator_training", "restoration_training"})


def spec_of(job: Job) -> AnySpec:
    """What the job is to do, from its row."""
    return SPECS[job.type].model_validate(job.spec)
