"""Structured logs: JSON in a cluster, readable lines on a terminal. Set up once by `__main__`.

Lines of a reconcile carry kind, namespace and name: the work queue's worker binds them as context variables, so every
line that is written below it has them, also those of libraries.
"""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import Processor

_KOPF_IN_A_THREAD = "OS signals are ignored"


class _Quiet(logging.Filter):
    """Drops kopf's warning about signals: `runtime` handles them, and stops kopf itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _KOPF_IN_A_THREAD not in record.getMessage()


def set_up(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Route structlog and the standard library to one handler on stderr."""
    stream = stream if stream is not None else sys.stderr
    pretty = log_format == "console" or (log_format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    render: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time")]
        if pretty
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(_Quiet())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow=())],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("kopf", "asyncio", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(level.upper() if level == "debug" else "WARNING")
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
