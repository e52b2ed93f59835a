"""Log lines: text for people, or a JSON object each for a collector; and what a line is about.

Commands write them to standard error. In Airflow's tasks and components Airflow writes them, a task's own
file always as JSON; the fields have the same names there.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar, Token
from types import TracebackType

from ecommerce_dw.settings import Settings

_logger = logging.getLogger(__name__)

#: What a line may be about. Under these names structlog, by which Airflow logs, takes them into its lines.
_FIELDS: dict[str, ContextVar[str]] = {
    name: ContextVar(f"structlog_{name}") for name in ("run_id", "step", "source", "entity", "file")
}


@contextlib.contextmanager
def about(**fields: str | None) -> Iterator[None]:
    """Say in each line that is logged in the block what it is about.

    Args:
        fields: `run_id`, `step` (a task of the DAG), `source`, `entity`, `file` (its path in the landing
            zone); what is None is left as it is.
    """
    tokens: list[tuple[ContextVar[str], Token[str]]] = []
    for name, value in fields.items():
        if value is not None:
            tokens.append((_FIELDS[name], _FIELDS[name].set(value)))
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON, in ASCII, whatever is in it.

    Its fields are `timestamp` (UTC, ISO 8601), `level`, `logger`, `event`, those of `about`, and `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line = {
            "timestamp": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        line |= {name: value for name, field in _FIELDS.items() if (value := field.get(None)) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line)


def configure(settings: Settings, level: int) -> None:
    """Let this process write log lines to standard error in the form that LOG_FORMAT says.

    Args:
        settings: `log_format`; `log_level` wins over the argument.
        level: Least level of a line, of the module `logging`.
    """
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter())
        logging.captureWarnings(True)
        sys.excepthook = _log_uncaught
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=settings.log_level.upper() or level, handlers=[handler])


def writes_json() -> bool:
    """Whether this process writes its log lines as JSON."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.root.handlers)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _logger.critical("%s: %s", kind.__name__, error, exc_info=(kind, error, trace))
