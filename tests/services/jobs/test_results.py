"""What jobs made, told for many at once."""

import numpy as np

from services.database.schema import Dataset, Job, Loss, Model
from services.jobs import results
from services.jobs.results import Made
from services.jobs.specs import SPECS


def test_a_page_of_jobs_of_every_type_says_what_each_made(
    desk, installation, add_loss, add_model, add_dataset, add_evaluation
):
    ids = {kind: desk.submit().id for kind in SPECS}
    idle = desk.submit().id
    loss, model = add_loss(), add_model()
    dataset = add_dataset({"grey.png": np.full((64, 64, 3), 100, np.uint8)})
    evaluation = add_evaluation(ids["evaluation"])
    with installation.database.write() as session:
        for kind, job_id in ids.items():
            session.get_one(Job, job_id).type = kind
        session.get_one(Loss, loss.id).job_id = ids["discriminator_training"]
        session.get_one(Model, model.id).job_id = ids["restoration_training"]
        session.get_one(Dataset, dataset.id).job_id = ids["dataset_import"]
    with installation.database.read() as session:
        jobs = [session.get_one(Job, job_id) for job_id in (*ids.values(), idle)]
        made = results.of_jobs(session, jobs)
    assert made == {
        ids["discriminator_training"]: Made(loss_id=loss.id),
        ids["restoration_training"]: Made(model_id=model.id),
        ids["dataset_import"]: Made(dataset_id=dataset.id),
        ids["evaluation"]: Made(evaluation_id=evaluation.id),
        ids["restoration"]: Made(),
        idle: Made(),
    }
