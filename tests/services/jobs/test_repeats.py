"""Jobs that do again what was done before."""

from services.access import LOCAL, Caller
from services.jobs import repeats, requests
from services.jobs.lifecycle import State
from services.jobs.submission import submit
from services.phase1.recipe import DiscriminatorTraining


def find(installation, spec, caller=LOCAL):
    with installation.database.read() as session:
        found = repeats.find(session, spec, caller)
    return None if found is None else found.id


def with_recipe(desk, **recipe):
    return DiscriminatorTraining.model_validate(
        {**desk.spec.model_dump(mode="json"), "recipe": recipe}
    )


def test_the_same_spec_is_found_again(desk, installation):
    assert find(installation, desk.spec) is None
    job = desk.submit()
    assert find(installation, desk.spec) == job.id
    assert find(installation, with_recipe(desk, width=8)) is None


def test_what_counts_is_what_it_comes_to(desk, installation):
    job = desk.submit()
    assert find(installation, with_recipe(desk, width=16)) == job.id  # the preset's anyway
    published = {"taps": "published", "value_range": "unit"}
    with installation.database.write() as session:
        by_changes = submit(
            session,
            DiscriminatorTraining.model_validate(
                {
                    "seed_image_ids": [desk.seed.id],
                    "task": {"kind": "sisr"},
                    "preset": "paper",
                    "recipe": {**published, "factor": "auto"},
                }
            ),
            caller=LOCAL,
        )
    by_preset = DiscriminatorTraining.model_validate(
        {
            "seed_image_ids": [desk.seed.id],
            "task": {"kind": "sisr"},
            "preset": "published",
            "recipe": {"factor": "auto"},
        }
    )
    assert find(installation, by_preset) == by_changes.id


def test_what_came_to_nothing_is_no_repeat(desk, installation):
    job = desk.submit()
    desk.ask(requests.cancel, job)
    assert desk.job(job).state == State.CANCELED
    assert find(installation, desk.spec) is None


def test_one_that_succeeded_goes_before_a_newer_one(desk, installation):
    done, _ = desk.submit(), desk.submit()
    with installation.database.write() as session:
        session.get_one(type(done), done.id).state = State.SUCCEEDED.value
    assert find(installation, desk.spec) == done.id


def test_other_owners_jobs_are_not_told_of(desk, installation):
    admin = Caller(owner="boss", scopes=frozenset({"read", "write", "admin"}))
    desk.submit()
    assert find(installation, desk.spec, admin) is None
