"""The log: one line an event, as text or as JSON, with the ids of what the event is about.

What others wrote cannot forge a line: control characters are escaped, and in text the lines of
a traceback are marked. Whoever logs them, keys, webhooks' secrets and the user and password of an
address are struck out.
"""

import json
import logging
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType

from services.names import CONTROL
from services.settings import Settings

# Those that a line may have, in their order.
IDS = ("request_id", "job_id", "attempt", "worker", "trace_id")

# They tell at length of what the service does by them, addresses with secrets included.
_TALKATIVE = ("httpx", "httpcore", "urllib3")
_CONTROL = re.compile(f"[{CONTROL}]")
# Of a key its id stays.
_KEY = re.compile(r"(mdf_[0-9a-f]+_|whsec_)[\w+/=%-]+")
# In a word, all from `//` to the last `@`: in a path, what was quoted of a password comes unquoted.
# Atomic, so that no line takes more than linear time.
_USER = re.compile(r"(?<!\S)((?>\S*?[:/]/+))\S*@")
_log = logging.getLogger(__name__)
_settings: Settings | None = None
_process_ids: dict[str, str | int] = {}
_bound_ids: ContextVar[Mapping[str, str | int] | None] = ContextVar("ids", default=None)


def configure_logging(settings: Settings, **ids: str | int) -> None:
    """Log to standard error; `ids` stand in every line of this process."""
    global _settings  # noqa: PLW0603 - one log a process
    _settings = settings
    name_process(**ids)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_FORMATTERS[settings.log_format]())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.excepthook = _log_end
    threading.excepthook = _log_end_of_thread


def settings_in_force() -> Settings | None:
    """What this process was told to log by, for processes that it starts; None if it was not."""
    return _settings


def name_process(**ids: str | int | None) -> None:
    """Put `ids` into every line of this process from now on, whatever its thread."""
    _process_ids.update(_known(ids))


@contextmanager
def about(**ids: str | int | None) -> Iterator[None]:
    """Put `ids` into the lines of this block, and of what it awaits or calls."""
    token = _bound_ids.set({**(_bound_ids.get() or {}), **_known(ids)})
    try:
        yield
    finally:
        _bound_ids.reset(token)


def current_ids() -> dict[str, str | int]:
    """The ids that a line has here."""
    return {**_process_ids, **(_bound_ids.get() or {})}


def _known(ids: Mapping[str, str | int | None]) -> dict[str, str | int]:
    if strange := ids.keys() - set(IDS):
        raise ValueError(f"a line has no {', '.join(sorted(strange))}; it may have {IDS}")
    return {name: value for name, value in ids.items() if value is not None}


class TextFormatter(logging.Formatter):
    """For people: time, level, source, message, ids; a traceback follows, marked by `|`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and those of its traceback."""
        ids = " ".join(f"{name}={value}" for name, value in _ids_in_order())
        text = f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}"
        lines = [f"{text} [{ids}]" if ids else text]
        lines += [f"  | {line}" for line in (_exception(record) or "").split("\n") if line]
        return _without_secrets("\n".join(_CONTROL.sub(_escape, line) for line in lines))


class JsonFormatter(logging.Formatter):
    """For programs: an object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in it; only ASCII."""
        content: dict[str, str | int] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **dict(_ids_in_order()),
        }
        exception = _exception(record)
        if exception is not None:
            content["exception"] = exception
        return _without_secrets(json.dumps(content))


_FORMATTERS = {"text": TextFormatter, "json": JsonFormatter}


def _ids_in_order() -> list[tuple[str, str | int]]:
    ids = current_ids()
    return [(name, ids[name]) for name in IDS if name in ids]


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _exception(record: logging.LogRecord) -> str | None:
    if not record.exc_info or record.exc_info[0] is None:
        return None
    return logging.Formatter().formatException(record.exc_info)


def _log_end(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    _log.critical("the process ends", exc_info=(kind, error, traceback))


def _log_end_of_thread(fault: threading.ExceptHookArgs) -> None:
    if fault.exc_type is not SystemExit and fault.exc_value is not None:
        name = fault.thread.name if fault.thread else "unknown"
        error = (fault.exc_type, fault.exc_value, fault.exc_traceback)
        _log.error("the thread %s ends", name, exc_info=error)


def _without_secrets(line: str) -> str:
    if "mdf_" in line or "whsec_" in line:
        line = _KEY.sub(r"\1***", line)
    # JSON stays JSON: a space stands between any two values, and no escape is cut.
    if "@" in line:
        line = _USER.sub(r"\1***@", line)
    return line


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
