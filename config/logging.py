"""What the processes say: one event per line, for a terminal or for a log collector.

    log = structlog.get_logger()
    log.info("run finished", run_id=run.id, stage="embed", seconds=0.12)

Events are short phrases; what varies goes into fields. `bind_context` adds `request_id`, `tenant_id` and `run_id` to
every event of the same thread until `clear_context`. Content of episodes and memories, and keys, never go into a
field: `redact` is the last line of defence, not a licence.

Fields with a meaning of their own: `event`, `level`, `timestamp` (UTC, ISO 8601), `logger`, `process`,
`request_id`, `tenant_id`, `run_id`, `exception`.
"""

from __future__ import annotations

import logging
import logging.config
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from config.log_repeats import Repeats
from config.settings import Settings

#: Loggers of libraries that say more at INFO than an operator wants to read.
QUIET_LIBRARIES = ("httpx", "httpcore", "urllib3", "wordllama", "periodiq", "dramatiq.middleware", "psycopg.pool")

_SECRET_FIELD = re.compile(r"(api.?key|secret|password|authorization|bearer|dsn)$", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(\w+://[^\s:/@]*):[^\s/@]+@")
#: Keys of `pipelines.key_format`, wherever somebody put one that does not belong there: the id stays, the secret goes.
_API_KEY = re.compile(r"(sw_[0-9A-Za-z]{12}_)[0-9A-Za-z]{20,}")
_HIDDEN = "[hidden]"


def configure_logging(settings: Settings, *, process: str | None = None) -> None:
    """Send our events and those of the standard library to standard error, in the form the settings ask for.

    Safe to call again, as a process does after a fork. `process` names the part (`api`, `worker`, ...) in JSON;
    in a terminal, the supervisor's prefix does.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *(_for_collectors(process) if settings.log_format == "json" else _for_people()),
        ],
    )
    handler = _StandardError()
    handler.setFormatter(formatter)
    handler.addFilter(Repeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    logging.captureWarnings(True)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))


def bind_context(**fields: Any) -> None:
    """Add fields (`request_id`, `tenant_id`, `run_id`) to every event of this thread until `clear_context`."""
    structlog.contextvars.bind_contextvars(**{name: value for name, value in fields.items() if value is not None})


def clear_context() -> None:
    """Forget the bound fields. Threads are used again: call it at the end of each request and message."""
    structlog.contextvars.clear_contextvars()


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide the values of fields named like secrets, passwords within addresses, and API keys anywhere."""
    for name, value in event.items():
        if _SECRET_FIELD.search(name):
            event[name] = _HIDDEN
        elif isinstance(value, str):
            if "://" in value:
                value = _URL_PASSWORD.sub(rf"\1:{_HIDDEN}@", value)
            event[name] = _API_KEY.sub(rf"\1{_HIDDEN}", value) if "sw_" in value else value
    return event


class _StandardError(logging.StreamHandler[Any]):
    """Writes to whatever `sys.stderr` is at the moment: dramatiq replaces it in its worker processes."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        """Fixed."""


def _for_collectors(process: str | None) -> list[Processor]:
    def add_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if process is not None:
            event["process"] = process
        return event

    return [add_process, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]


def _for_people() -> list[Processor]:
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=True),
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        ),
    ]
