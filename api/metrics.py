"""Prometheus metrics: of this process's requests, and of the installation at each scrape."""

from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services import census
from services.installation import Installation
from services.jobs.lifecycle import State
from services.jobs.specs import SPECS

_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


def known_method(method: str) -> str:
    """The method, or `other`: callers may make up any number of them."""
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

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing in advance: registering must not read the database."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families, with the values of now."""
        with self._installation.database.read() as session:
            counts = census.take(session)
        jobs = GaugeMetricFamily("mdf_jobs", "Jobs by type and state", labels=("type", "state"))
        for job_type in sorted(SPECS):
            for state in State:
                jobs.add_metric((job_type, state), counts.jobs.get((job_type, state), 0))
        yield jobs
        failures = GaugeMetricFamily(
            "mdf_jobs_failed", "Failed jobs by the code of their error", labels=("code",)
        )
        for code, count in counts.failures.items():
            failures.add_metric((code,), count)
        yield failures
        queued = sum(count for (_, state), count in counts.jobs.items() if state == State.QUEUED)
        running = sum(count for (_, state), count in counts.jobs.items() if state == State.RUNNING)
        for name, text, value in (
            ("mdf_queue_depth", "Queued jobs", queued),
            ("mdf_jobs_running", "Running jobs", running),
            (
                "mdf_queue_oldest_seconds",
                "Wait of the oldest queued job",
                counts.oldest_queued_seconds,
            ),
            ("mdf_workers", "Worker slots that gave a sign of life of late", counts.workers),
            ("mdf_workers_busy", "Worker slots that have a job", counts.busy_workers),
            ("mdf_images", "Images in the catalogue", counts.images),
            ("mdf_datasets", "Data sets in the catalogue", counts.datasets),
            ("mdf_losses", "Losses in the catalogue", counts.losses),
            ("mdf_models", "Models in the catalogue", counts.models),
            (
                "mdf_disk_free_bytes",
                "Free disk below the blobs",
                self._installation.blobs.free_bytes(),
            ),
        ):
            if value is not None:
                yield GaugeMetricFamily(name, text, value=value)


def make_registry(installation: Installation) -> CollectorRegistry:
    """A registry of its own for one application."""
    registry = CollectorRegistry()
    build = Gauge("mdf_build_info", "Version of the service", ("version",), registry=registry)
    build.labels(version("mdf")).set(1)
    registry.register(InstallationCollector(installation))
    return registry
