"""`client.jobs`: watch and steer the server's work."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mdf.client.downloads import download
from mdf.client.events import follow, passing
from mdf.client.pages import iterate, page, records
from mdf.client.records import Artifact, Deleted, Estimate, Event, Job, Metric, Page, Sample, parse
from mdf.client.transport import Transport
from mdf.errors import MDFError


class Jobs:
    """Look at jobs, wait for them, and ask them to stop or go on."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def submit(self, job: dict[str, Any]) -> Job:
        """Send a job in the form that `POST /v1/jobs` takes; the methods of `Client` write it."""
        return parse(Job, self._transport.create("/v1/jobs", json=job))

    def estimate(self, job: dict[str, Any]) -> Estimate:
        """What a training would take, as `Client.loss_training` or `restorer_training` writes it.

        Nothing is submitted.
        """
        return parse(Estimate, self._transport.act("/v1/jobs/estimate", json=job))

    def get(self, job_id: str) -> Job:
        """One job."""
        return parse(Job, self._transport.get(f"/v1/jobs/{job_id}"))

    def list(
        self,
        *,
        state: str | None = None,
        type: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Job]:
        """One page of jobs, newest first: all, or those in a state or of a type."""
        return page(
            self._transport,
            Job,
            "/v1/jobs",
            state=state,
            type=type,
            limit=limit,
            cursor=cursor,
        )

    def iterate(self, *, state: str | None = None, type: str | None = None) -> Iterator[Job]:
        """All jobs, or those in a state or of a type, newest first, fetched a page at a time."""
        return iterate(self._transport, Job, "/v1/jobs", state=state, type=type)

    def cancel(self, job_id: str) -> Job:
        """End the job without a result."""
        return self._ask(job_id, "cancel")

    def pause(self, job_id: str) -> Job:
        """Stop the job at a checkpoint until it is resumed."""
        return self._ask(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on."""
        return self._ask(job_id, "resume")

    def finish(self, job_id: str) -> Job:
        """End training early: the scales done so far are the loss, the best so far the model."""
        return self._ask(job_id, "finish")

    def retry(self, job_id: str) -> Job:
        """Run a job again that failed or was canceled."""
        return self._ask(job_id, "retry")

    def update(self, job_id: str, *, name: str | None = None, priority: int | None = None) -> Job:
        """Change a job's name or priority."""
        changes = {"name": name, "priority": priority}
        given = {field: value for field, value in changes.items() if value is not None}
        answer = self._transport.act(f"/v1/jobs/{job_id}", method="PATCH", json=given)
        return parse(Job, answer)

    def delete(self, job_id: str) -> Deleted:
        """Remove a job that has ended."""
        return parse(Deleted, self._transport.act(f"/v1/jobs/{job_id}", method="DELETE"))

    def events(self, job_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Event, ...]:
        """The events after number `after` that have been written so far."""
        answer = self._transport.get(f"/v1/jobs/{job_id}/events", after=after, limit=limit)
        return records(Event, answer)

    def follow(
        self,
        job_id: str,
        *,
        after: int = 0,
        patience: float = 300.0,
        on_lost: Callable[[MDFError], None] | None = None,
    ) -> Iterator[Event]:
        """Every event after number `after`, as it happens, until the job has ended.

        Reconnects by itself and misses nothing; `on_lost` hears of every lost connection.
        Raises UnreachableError when there has been no server for `patience` seconds.
        """
        return follow(self._transport, job_id, after=after, patience=patience, on_lost=on_lost)

    def wait(self, job_id: str, *, timeout: float | None = None, patience: float = 300.0) -> Job:
        """Return the job when it has ended, well or not: see `Job.succeeded`.

        Raises TimeoutError after `timeout` seconds, and the last fault when there has been
        no server, or none that works, for `patience` seconds.
        """
        started = last_contact = time.monotonic()
        pause = 0.1
        while True:
            try:
                job = self.get(job_id)
            except MDFError as error:
                if not passing(error) or time.monotonic() - last_contact > patience:
                    raise
            else:
                last_contact = time.monotonic()
                if job.done:
                    return job
            if timeout is not None and time.monotonic() - started + pause > timeout:
                raise TimeoutError(f"job {job_id} has not ended within {timeout:g} seconds")
            time.sleep(pause)
            pause = min(pause * 1.5, 2.0)

    def metrics(
        self,
        job_id: str,
        *,
        keys: Sequence[str] | None = None,
        scale: int | None = None,
        after_step: int | None = None,
        max_points: int | None = None,
    ) -> tuple[Metric, ...]:
        """The training curves, thinned to `max_points` with the first and the last kept.

        Without a number the server gives up to 10,000 points, and it takes 100,000 at most.
        """
        answer = self._transport.get(
            f"/v1/jobs/{job_id}/metrics",
            keys=keys,
            scale=scale,
            after_step=after_step,
            max_points=max_points,
        )
        return records(Metric, answer)

    def samples(self, job_id: str) -> tuple[Sample, ...]:
        """The pictures made so far."""
        answer = self._transport.get(f"/v1/jobs/{job_id}/samples")
        return records(Sample, answer)

    def sample_png(self, job_id: str, sample_id: str) -> bytes:
        """One of those pictures."""
        return self._transport.get_bytes(f"/v1/jobs/{job_id}/samples/{sample_id}/content")

    def artifacts(self, job_id: str) -> tuple[Artifact, ...]:
        """The files that the job has published besides its loss or model."""
        answer = self._transport.get(f"/v1/jobs/{job_id}/artifacts")
        return records(Artifact, answer)

    def download_artifact(
        self,
        job_id: str,
        kind: str,
        target: str | Path,
        *,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Path:
        """Save the artifact `kind`, such as `contact_sheet`, as the file `target`."""
        published = {artifact.kind: artifact for artifact in self.artifacts(job_id)}
        if kind not in published:
            raise MDFError(
                f"job {job_id} has no artifact {kind!r}; it has: {', '.join(published) or 'none'}"
            )
        return download(
            self._transport,
            f"/v1/jobs/{job_id}/artifacts/{kind}/content",
            Path(target),
            digest=published[kind].sha256,
            on_bytes=on_bytes,
        )

    def _ask(self, job_id: str, action: str) -> Job:
        return parse(Job, self._transport.act(f"/v1/jobs/{job_id}/{action}"))
