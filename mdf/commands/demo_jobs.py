"""The jobs of a demo, which the next demo of the same kind takes up again."""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from mdf.client import Client, Job
from mdf.commands.faults import CommandError
from mdf.commands.following import watch
from mdf.commands.terminal import note


def take_up(
    client: Client, title: str, request: Mapping[str, Any], submit: Callable[[str], Job]
) -> Job:
    """The job that an earlier demo began for the same request, done or not; else a new one.

    It is found by its name, which `submit` gets: `title` and a digest of the request. Jobs of
    other requests that an interrupted demo has left make way.
    """
    digest = sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{title} {digest}"
    jobs = list(client.jobs.iterate())
    found = next((job for job in jobs if job.name == name and not _is_lost(job)), None)
    if found is not None and found.succeeded:
        note("Done before by an earlier demo; remove its folder to train anew")
        return found
    for job in jobs:
        if not job.done and job.name != name:
            client.jobs.cancel(job.id)
    if found is None:
        return submit(name)
    note("Going on    from where the last demo stopped")
    return client.jobs.resume(found.id) if found.state == "paused" else found


def watch_to_result(client: Client, job: Job) -> Job:
    """Show the job's progress until it has its result, without which there is no demo."""
    if not job.succeeded:
        job = watch(client, job.id)
    if not job.succeeded:
        reason = f"{job.error.message} [{job.error.code}]" if job.error else "on request"
        raise CommandError(f"{job.name} {job.state}: {reason}")
    return job


def _is_lost(job: Job) -> bool:
    return job.done and not job.succeeded
