"""Traces: what a request and the job that it submitted spent their time on.

They go to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, by OTLP over HTTP, set up by
OpenTelemetry's own variables. Without that variable nothing of OpenTelemetry is imported, and
the functions here do nothing.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from services.telemetry.tracer import Tracer

ENDPOINT_NAMES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# By which a process learns the span that started it, as other programs do.
PARENT_NAME = "TRACEPARENT"

Attributes = Mapping[str, str | int | float | bool]
Kind = Literal["internal", "server"]

_log = logging.getLogger(__name__)
_tracer: "Tracer | None" = None


def start(part: Literal["api", "worker", "job"]) -> None:
    """Trace this process, a part of the service, if a collector is named; until `stop`."""
    global _tracer  # noqa: PLW0603 - one tracer a process, as there is one log
    if not any(os.environ.get(name) for name in ENDPOINT_NAMES):
        return
    try:
        from services.telemetry.tracer import Tracer

        _tracer = Tracer(part, parent=os.environ.get(PARENT_NAME))
    except Exception as error:  # noqa: BLE001 - by a wrong variable, say: the work goes on without
        _log.warning("no traces: %s", error)


def stop() -> None:
    """Send what is left, within half a second, and trace no more."""
    global _tracer  # noqa: PLW0603 - as above
    if _tracer is not None:
        _tracer.close()
        _tracer = None


@contextmanager
def span(
    name: str,
    attributes: Attributes,
    *,
    kind: Kind = "internal",
    parent: str | None = None,
) -> Iterator[None]:
    """Trace the block, as part of the block around it or of the `traceparent` given.

    Of an exception the trace gets the class: its words may be secret.
    """
    if _tracer is None:
        yield
        return
    with _tracer.span(name, attributes, kind=kind, parent=parent):
        yield


def past(
    name: str,
    attributes: Attributes,
    *,
    begun: datetime,
    ended: datetime,
    parent: str | None = None,
) -> None:
    """Trace what is over."""
    if _tracer is not None:
        _tracer.past(name, attributes, begun, ended, parent=parent)


def tell(attributes: Attributes, *, name: str | None = None, fault: str | None = None) -> None:
    """Add to the span of the block around: attributes, its final name, or what went wrong."""
    if _tracer is not None:
        _tracer.tell(attributes, name, fault)


def traceparent() -> str | None:
    """The span of the block around, for others that go on from it (W3C Trace Context)."""
    return None if _tracer is None else _tracer.traceparent()


def environment() -> dict[str, str]:
    """What a process that is started here is given, for it to go on from the block around."""
    parent = traceparent()
    return {} if parent is None else {PARENT_NAME: parent}


def trace_id() -> str | None:
    """The trace of the block around, 32 hexadecimal digits."""
    parent = traceparent()
    return None if parent is None else parent.split("-")[1]
