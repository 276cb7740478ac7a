"""The tracer of a process: OpenTelemetry's, kept from ever holding the process up."""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.jobs.locks import this_host
from services.telemetry import Attributes

_LAST_SECONDS = 0.5  # for what has not been sent when the process ends
_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER}
_propagator = TraceContextTextMapPropagator()
_log = logging.getLogger(__name__)

# They tell of each batch that is lost; the exporter below tells once.
logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


class _Exporter(OTLPSpanExporter):
    """Says once that the collector is away, and once that it is back."""

    failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send; what cannot be sent is dropped."""
        result = super().export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self.failing:
            _log.warning("traces are dropped: the collector does not take them")
        elif self.failing and not failing:
            _log.info("the collector takes traces again")
        self.failing = failing
        return result


class Tracer:
    """Makes spans, which a thread of its own sends; `parent` is the span of the whole process."""

    def __init__(self, part: str, *, parent: str | None) -> None:
        names = {
            SERVICE_VERSION: version("mdf"),
            SERVICE_INSTANCE_ID: f"{this_host()}:{os.getpid()}",
        }
        if not os.environ.get("OTEL_SERVICE_NAME"):
            names[SERVICE_NAME] = f"mdf-{part}"
        self._exporter = _Exporter()
        # At the process's end it would wait for a collector that is away.
        self._provider = TracerProvider(resource=Resource.create(names), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("mdf", version("mdf"))
        self._root = None if parent is None else _context_of(parent)

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Attributes,
        *,
        kind: str,
        parent: str | None,
    ) -> Iterator[None]:
        """The current span of the block."""
        with self._tracer.start_as_current_span(
            name,
            context=self._context(parent),
            kind=_KINDS[kind],
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", type(error).__name__)
                raise

    def past(
        self,
        name: str,
        attributes: Attributes,
        begun: datetime,
        ended: datetime,
        *,
        parent: str | None,
    ) -> None:
        """A span that is over."""
        span = self._tracer.start_span(
            name,
            context=self._context(parent),
            attributes=attributes,
            start_time=_nanoseconds(begun),
        )
        span.end(_nanoseconds(ended))

    def tell(self, attributes: Attributes, name: str | None, fault: str | None) -> None:
        """Add to the current span."""
        span = trace.get_current_span()
        span.set_attributes(attributes)
        if name is not None:
            span.update_name(name)
        if fault is not None:
            span.set_status(StatusCode.ERROR)
            span.set_attribute("error.type", fault)

    def traceparent(self) -> str | None:
        """The current span, or the whole process's."""
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, self._context(None))
        return carrier.get("traceparent")

    def close(self) -> None:
        """Send what is left, unless the collector is away or takes long."""
        if self._exporter.failing:
            return
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(_LAST_SECONDS)

    def _context(self, parent: str | None) -> Context | None:
        if parent is not None:
            return _context_of(parent)
        in_span = trace.get_current_span().get_span_context().is_valid
        return None if in_span else self._root


def _context_of(traceparent: str) -> Context:
    return _propagator.extract({"traceparent": traceparent}, Context())


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
