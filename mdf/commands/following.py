"""Watch a job until it ends; Ctrl-C stops the watching, never the job."""

import typer

from mdf.client import Client, Event, Job
from mdf.commands.display import Display, open_display
from mdf.commands.faults import INTERRUPTED
from mdf.commands.terminal import duration, note, print_json
from mdf.errors import MDFError

_STATES = {
    "queued": "waiting for a worker",
    "running": "starting",
    "pausing": "saving a checkpoint before the pause",
    "paused": "paused; `mdf jobs resume` lets it go on",
    "canceling": "canceling",
}
# What the steps of a job are, if they are not iterations.
_UNITS = {"restoration": "image", "evaluation": "image", "dataset_import": "step"}


def watch(client: Client, job_id: str) -> Job:
    """Show the job's progress until it has ended, and return it."""
    unit = _UNITS.get(client.jobs.get(job_id).type, "iteration")
    with open_display(unit) as display:

        def lost(error: MDFError) -> None:
            display.say(f"{error}; trying again")

        for event in client.jobs.follow(job_id, on_lost=lost):
            _show(display, event)
    return client.jobs.get(job_id)


def watch_events(client: Client, job_id: str) -> Job:
    """Print the job's events as JSON, one a line, until it has ended, and return it."""
    for event in client.jobs.follow(job_id, on_lost=lambda error: note(str(error))):
        print_json(event, indent=None)
    return client.jobs.get(job_id)


def detach(*job_ids: str) -> typer.Exit:
    """Say how to come back to jobs that go on by themselves."""
    for job_id in job_ids:
        note(f"{job_id} goes on without us. Come back: mdf jobs follow {job_id}")
    return typer.Exit(INTERRUPTED)


def watch_to_success(client: Client, job: Job) -> Job:
    """Watch a job that was just submitted; leave the command unless it ends with its result."""
    try:
        job = watch(client, job.id)
    except KeyboardInterrupt:
        raise detach(job.id) from None
    tell_end(job)
    if not job.succeeded:
        raise typer.Exit(1)
    return job


def tell_end(job: Job) -> None:
    """Say how the job ended."""
    name = f"{job.id} ({job.name})" if job.name else job.id
    if job.succeeded:
        note(f"{name} succeeded after {duration(job.run_seconds)}{_result(job)}")
    elif job.error is not None:
        note(f"{name} {job.state}: {job.error.message} [{job.error.code}]")
    else:
        note(f"{name} {job.state}")


def _result(job: Job) -> str:
    results = {
        "loss": job.loss_id,
        "model": job.model_id,
        "data set": job.dataset_id,
        "evaluation": job.evaluation_id,
    }
    return "".join(f": {kind} {id}" for kind, id in results.items() if id is not None)


def _show(display: Display, event: Event) -> None:
    progress, state = event.progress, event.state
    if progress is not None:
        display.update(progress)
    elif state == "running" and event.content.get("attempt", 1) > 1:
        display.say(f"attempt {event.content['attempt']}, from the last checkpoint")
    elif state in _STATES:
        display.say(_STATES[state])
