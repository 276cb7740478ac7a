"""`mdf jobs`: look at the server's work and steer it."""

from collections.abc import Callable
from itertools import islice
from mimetypes import guess_extension
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from mdf.client import Client, Job, Progress
from mdf.commands.connection import ApiKey, AsJson, Limit, Url, connect
from mdf.commands.display import describe_metrics
from mdf.commands.following import detach, tell_end, watch, watch_events
from mdf.commands.terminal import (
    age,
    describe_loss,
    describe_network,
    describe_work,
    duration,
    moment,
    note,
    out,
    print_fields,
    print_json,
    print_table,
    state,
    tell_deleted,
)

app = typer.Typer(help="Watch and steer the server's work.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.")]
JobIds = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of jobs.")]


@app.command("ls")
def list_jobs(
    *,
    only: Annotated[
        str | None, typer.Option("--state", help="Only jobs in this state, such as running.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", help="Only jobs of this type, such as restoration.")
    ] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """List jobs, newest first."""
    with connect(url, api_key) as client:
        jobs = list(islice(client.jobs.iterate(state=only, type=kind), limit))
    if as_json:
        print_json(jobs)
    else:
        print_table(
            ("JOB", "STATE", "DONE", "WORK", "NAME", "AGE"),
            [
                (
                    job.id,
                    state(job.state),
                    _fraction(job),
                    describe_work(job),
                    job.name,
                    age(job.created),
                )
                for job in jobs
            ],
        )


@app.command()
def show(job_id: JobId, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Show all about one job."""
    with connect(url, api_key) as client:
        job = client.jobs.get(job_id)
    if as_json:
        print_json(job)
    else:
        print_fields(_describe(job))


@app.command()
def follow(job_id: JobId, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Watch a job until it ends; Ctrl-C leaves it running. JSON: one event a line."""
    with connect(url, api_key) as client:
        client.jobs.get(job_id)  # an unknown id fails here, before anything is drawn
        try:
            job = (watch_events if as_json else watch)(client, job_id)
        except KeyboardInterrupt:
            raise detach(job_id) from None
    tell_end(job)
    _exit_as(job)


@app.command()
def wait(
    job_ids: JobIds,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, help="Give up after so many seconds.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Wait until jobs have ended; exit 0 only if all of them succeeded."""
    with connect(url, api_key) as client:
        try:
            jobs = [client.jobs.wait(job_id, timeout=timeout) for job_id in job_ids]
        except TimeoutError as error:
            note(str(error))
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            raise detach(*job_ids) from None
    if as_json:
        print_json(jobs)
    for job in jobs:
        tell_end(job)
    _exit_as(*jobs)


@app.command()
def cancel(
    job_ids: JobIds, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """End jobs without a result."""
    _each(job_ids, lambda client: client.jobs.cancel, as_json=as_json, url=url, api_key=api_key)


@app.command()
def pause(
    job_ids: JobIds, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Stop jobs at a checkpoint until they are resumed."""
    _each(job_ids, lambda client: client.jobs.pause, as_json=as_json, url=url, api_key=api_key)


@app.command()
def resume(
    job_ids: JobIds, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Let paused jobs go on from their checkpoint."""
    _each(job_ids, lambda client: client.jobs.resume, as_json=as_json, url=url, api_key=api_key)


@app.command()
def finish(
    job_ids: JobIds, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """End training early: the scales done so far are the loss, the best so far is the model."""
    _each(job_ids, lambda client: client.jobs.finish, as_json=as_json, url=url, api_key=api_key)


@app.command()
def retry(
    job_ids: JobIds, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Run jobs again that failed or were canceled."""
    _each(job_ids, lambda client: client.jobs.retry, as_json=as_json, url=url, api_key=api_key)


@app.command()
def get(
    job_id: JobId,
    *,
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="KIND...", help="Such as restored.", show_default="all"),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--out", "-o", file_okay=False, help="Folder for the files.")
    ] = Path(),
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Download what a job has made besides a loss or model: restored images, contact sheets."""
    with connect(url, api_key) as client:
        suffixes = {
            artifact.kind: guess_extension(artifact.media_type) or ""
            for artifact in client.jobs.artifacts(job_id)
        }
        paths = [
            client.jobs.download_artifact(
                job_id, kind, folder / f"{job_id}-{kind}{suffixes.get(kind, '')}"
            )
            for kind in kinds or suffixes
        ]
    if as_json:
        print_json([str(path) for path in paths])
    else:
        for path in paths:
            out.print(str(path), markup=False, soft_wrap=True)


@app.command("rm")
def remove(
    job_ids: JobIds, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Remove jobs that have ended; their losses and models stay."""
    with connect(url, api_key) as client:
        tell_deleted(map(client.jobs.delete, job_ids), as_json=as_json)


def _each(
    job_ids: list[str],
    action: Callable[[Client], Callable[[str], Job]],
    *,
    as_json: bool,
    url: str | None,
    api_key: str | None,
) -> None:
    with connect(url, api_key) as client:
        jobs = [action(client)(job_id) for job_id in job_ids]
    if as_json:
        print_json(jobs)
    else:
        for job in jobs:
            print_fields({job.id: state(job.state)})


def _exit_as(*jobs: Job) -> None:
    if not all(job.succeeded for job in jobs):
        raise typer.Exit(1)


def _fraction(job: Job) -> str:
    return "" if job.progress is None else f"{job.progress.fraction:.0%}"


def _describe(job: Job) -> dict[str, str | Text | None]:
    progress = job.progress
    return {
        "job": job.id,
        "name": job.name or None,
        "state": state(job.state),
        "error": f"{job.error.message} [{job.error.code}]" if job.error else None,
        "progress": _describe_progress(progress) if progress else None,
        "metrics": describe_metrics(progress.metrics) if progress and progress.metrics else None,
        "time left": None if job.eta_seconds is None else duration(job.eta_seconds),
        "place in queue": None if job.queue_position is None else str(job.queue_position),
        **_describe_results(job),
        **_describe_spec(job),
        "attempt": f"{job.attempt} of {job.max_attempts}" if job.max_attempts else str(job.attempt),
        "priority": str(job.priority),
        "created": moment(job.created),
        "started": moment(job.started),
        "checkpoint": moment(job.checkpoint_at),
        "finished": moment(job.finished),
        "deadline": moment(job.deadline),
        "run time": duration(job.run_seconds) if job.started else None,
    }


def _describe_progress(progress: Progress) -> str:
    scale = f"scale {progress.scale}/{progress.scales}, " if progress.scales > 1 else ""
    return f"{progress.fraction:.0%}, {scale}step {progress.step}/{progress.steps}"


def _describe_results(job: Job) -> dict[str, str | None]:
    return {
        "loss": job.loss_id,
        "model": job.model_id,
        "data set": job.dataset_id,
        "evaluation": job.evaluation_id,
    }


def _describe_spec(job: Job) -> dict[str, str | None]:
    """What the job is to do; which lines there are depends on its type."""
    spec = job.spec
    loss, network, recipe = spec.get("loss"), spec.get("network"), spec.get("recipe") or {}
    images = spec.get("image_ids") or ()
    return {
        "work": describe_work(job),
        "seeds": ", ".join(spec.get("seed_image_ids", ())) or None,
        "images of": spec.get("dataset_id"),
        "validated on": spec.get("validation_dataset_id"),
        "network": describe_network(network) if network else None,
        "trained with": describe_loss(loss) if loss else None,
        "restored by": spec.get("model_id"),
        "compares": ", ".join(spec.get("model_ids", ())) or None,
        "images": ", ".join(images[:8]) + (", …" if len(images) > 8 else "") or None,
        "preset": spec.get("preset"),
        "recipe": ", ".join(f"{name}={value}" for name, value in recipe.items()) or None,
    }
