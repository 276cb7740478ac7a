"""Prometheus metrics: of this process's requests, and of the installation at each scrape."""

import shutil
import time
from collections.abc import Iterator, Mapping
from http import HTTPMethod
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from api.event_feeds import EventFeeds
from services import census
from services.census import Census
from services.installation import Installation
from services.jobs.failures import Code
from services.jobs.lifecycle import HELD, TERMINAL, State
from services.jobs.queues import QUEUE_NAMES, types_in
from services.jobs.specs import SPECS
from services.tallies import BOUNDS, Count, Time, Times
from services.usage import Kind, Use

# They would double the series, for nobody.
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client has no type here

_METHODS = frozenset(HTTPMethod)  # of RFC 9110 and 5789
_STORED_SECONDS = 60.0  # what is stored is counted again: the one count that takes long
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


def known_method(method: str) -> str:
    """The method, or `other`: callers may make up any number of them, and one may be a secret."""
    return method if method in _METHODS else "other"


class RequestMetrics:
    """Counts and latencies by route; a route is its template, never a path with ids."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "mdf_http_requests",
            "Requests answered",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "mdf_http_request_seconds",
            "Time from the first byte asked to the last byte answered",
            ("method", "route"),
            buckets=_SECONDS,
            registry=registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; status 0 is one that got no answer."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


class InstallationCollector(Collector):
    """Reads the database when Prometheus asks."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._stored: Mapping[Kind, Use] = {}
        self._stored_until = 0.0

    def describe(self) -> list[Metric]:
        """Nothing in advance: registering must not read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families, with the values of now."""
        with self._installation.database.read() as session:
            counted = census.take(session)
            if time.monotonic() >= self._stored_until:
                self._stored = census.stored(session)
                self._stored_until = time.monotonic() + _STORED_SECONDS
        yield from _jobs(counted)
        yield from _job_history(counted)
        yield from _slots(counted)
        yield from _hosts(counted)
        yield from _storage(self._stored, self._installation.blobs.folder)
        yield from _webhooks(counted)


def make_registry(installation: Installation, feeds: EventFeeds) -> CollectorRegistry:
    """A registry of its own for one application."""
    registry = CollectorRegistry()
    build = Gauge("mdf_build_info", "Version of the service", ("version",), registry=registry)
    build.labels(version("mdf")).set(1)
    streams = Gauge("mdf_event_streams", "Event streams that are open here", registry=registry)
    streams.set_function(lambda: feeds.streams)
    ProcessCollector(registry=registry)
    registry.register(InstallationCollector(installation))
    return registry


def _jobs(counted: Census) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("mdf_jobs", "Jobs by type and state", labels=("type", "state"))
    for job_type in sorted(SPECS):
        for state in State:
            jobs.add_metric((job_type, state), counted.jobs.get((job_type, state), 0))
    yield jobs
    depth = GaugeMetricFamily("mdf_queue_depth", "Queued jobs", labels=("queue",))
    oldest = GaugeMetricFamily(
        "mdf_queue_oldest_seconds", "Wait of the oldest queued job", labels=("queue",)
    )
    running = GaugeMetricFamily("mdf_queue_running", "Running jobs", labels=("queue",))
    for queue in QUEUE_NAMES:
        waiting = (counted.jobs.get((job_type, State.QUEUED), 0) for job_type in types_in(queue))
        depth.add_metric((queue,), sum(waiting))
        oldest.add_metric((queue,), counted.oldest_queued_seconds[queue])
        held = (counted.jobs.get((kind, state), 0) for kind in types_in(queue) for state in HELD)
        running.add_metric((queue,), sum(held))
    yield depth
    yield oldest
    yield running


def _job_history(counted: Census) -> Iterator[Metric]:
    """Over all time; a series that has counted nothing is there, so that its first rise shows."""
    for name, text, count in (
        ("mdf_job_claims", "Attempts at jobs that were begun", Count.CLAIMS),
        ("mdf_job_attempts_lost", "Attempts whose process was lost", Count.ATTEMPTS_LOST),
    ):
        attempts = CounterMetricFamily(name, text, labels=("type",))
        for job_type in sorted(SPECS):
            attempts.add_metric((job_type,), counted.counts[count].get((("type", job_type),), 0))
        yield attempts
    ended = CounterMetricFamily(
        "mdf_jobs_ended",
        "Jobs that ended, by type, state and the code of the error",
        labels=("code", "state", "type"),
    )
    ends = {
        (code, state, job_type): 0.0
        for job_type in SPECS
        for state in TERMINAL
        for code in (get_args(Code) if state == State.FAILED else ("",))
    }
    for labels, value in counted.counts[Count.JOBS_ENDED].items():
        code, state, job_type = (value for _, value in labels)
        ends[code, State(state), job_type] = value
    for end, value in sorted(ends.items()):
        ended.add_metric(end, value)
    yield ended
    for name, text, which in (
        ("mdf_job_wait_seconds", "From submission to the first start", Time.WAIT),
        ("mdf_job_run_seconds", "Computed in all attempts, by jobs that ended", Time.RUN),
    ):
        seconds = HistogramMetricFamily(name, text, labels=("type",))
        for job_type in sorted(SPECS):
            measured = counted.times[which].get((("type", job_type),), Times())
            seconds.add_metric((job_type,), _cumulated(measured), measured.sum)
        yield seconds


def _cumulated(times: Times) -> list[tuple[str, float]]:
    bounds = [*(str(float(bound)) for bound in BOUNDS), "+Inf"]
    return list(zip(bounds, accumulate(times.counts), strict=True))


def _slots(counted: Census) -> Iterator[Metric]:
    busy = sum(worker.job_id is not None for worker in counted.workers)
    yield GaugeMetricFamily(
        "mdf_workers", "Worker slots that gave a sign of life of late", len(counted.workers)
    )
    yield GaugeMetricFamily("mdf_workers_busy", "Worker slots that have a job", busy)
    memory = GaugeMetricFamily(
        "mdf_slot_memory_bytes",
        "Memory of a worker slot's processes, its job's included",
        labels=("host", "slot"),
    )
    for worker in counted.workers:
        if process := worker.resources.get("process"):
            slot = worker.id.split(":")[1]
            memory.add_metric((worker.host, slot), process["resident"])
    yield memory


def _hosts(counted: Census) -> Iterator[Metric]:
    """Of each host as the slot says that was heard last."""
    hosts: dict[str, Mapping[str, Any]] = {}
    gpus: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for worker in sorted(counted.workers, key=lambda worker: worker.last_seen):
        if worker.resources:
            hosts[worker.host] = worker.resources
        for gpu in worker.resources.get("gpus", ()):
            gpus[worker.host, gpu["index"], gpu["name"]] = gpu
    for name, text, part, field in (
        ("mdf_host_memory_bytes", "Memory of a worker's host", "memory", "total"),
        ("mdf_host_memory_available_bytes", "Of it, what is available", "memory", "available"),
        ("mdf_host_disk_bytes", "Disk below MDF_HOME of a worker's host", "disk", "total"),
        ("mdf_host_disk_free_bytes", "Of it, what is free", "disk", "free"),
    ):
        family = GaugeMetricFamily(name, text, labels=("host",))
        for host, resources in hosts.items():
            if part in resources:
                family.add_metric((host,), resources[part][field])
        yield family
    labels = ("host", "gpu", "name")
    total = GaugeMetricFamily("mdf_gpu_memory_bytes", "Memory of a worker's GPU", labels=labels)
    used = GaugeMetricFamily("mdf_gpu_memory_used_bytes", "Of it, what is used", labels=labels)
    busy = GaugeMetricFamily(
        "mdf_gpu_utilization_ratio", "Share of the time in which the GPU computes", labels=labels
    )
    for which, gpu in sorted(gpus.items()):
        total.add_metric(which, gpu["memory"]["total"])
        used.add_metric(which, gpu["memory"]["used"])
        if "utilization" in gpu:
            busy.add_metric(which, gpu["utilization"])
    yield from (total, used, busy)


def _storage(stored: Mapping[Kind, Use], folder: Path | None) -> Iterator[Metric]:
    objects = GaugeMetricFamily("mdf_stored_objects", "Objects in the catalogue", labels=("kind",))
    size = GaugeMetricFamily("mdf_stored_bytes", "Bytes of their files", labels=("kind",))
    for kind, use in stored.items():
        objects.add_metric((kind,), use.count)
        size.add_metric((kind,), use.size)
    yield objects
    yield size
    if folder is not None:
        disk = shutil.disk_usage(folder)
        yield GaugeMetricFamily("mdf_blobs_disk_bytes", "Disk below the blobs", disk.total)
        yield GaugeMetricFamily("mdf_blobs_disk_free_bytes", "Of it, what is free", disk.free)


def _webhooks(counted: Census) -> Iterator[Metric]:
    deliveries = GaugeMetricFamily(
        "mdf_webhook_deliveries",
        "Messages to webhooks that wait to be sent, or were given up",
        labels=("state",),
    )
    for state in census.DELIVERY_STATES:
        deliveries.add_metric((state,), counted.deliveries.get(state, 0))
    yield deliveries
    yield GaugeMetricFamily(
        "mdf_webhooks_disabled", "Webhooks that are sent nothing", counted.webhooks_disabled
    )
