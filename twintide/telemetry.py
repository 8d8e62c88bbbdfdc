"""How programs are seen from outside: their log, as events on standard error.

A log line is one decision, named in the past tense, with fields, such as
`log.info("shard_committed", rows=n)` for a shard.
"""

import io
import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog


def configure_logging(*, as_json: bool | None = None, level: int = logging.INFO) -> None:
    """Lines for whoever watches a terminal, JSON for whatever else reads; or what is asked for."""
    watched = sys.stderr is not None and sys.stderr.isatty()
    if as_json is None:
        as_json = not watched
    renderer = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=watched)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Written(sys.stderr))),
    )


class _Written(io.TextIOBase):
    """A stream that takes what it can: a log on a full disk, or one that nobody reads any more,
    must not stop what it is about.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # ValueError: it was closed
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()


def get_log(stage: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose every line names the stage."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(stage=stage)
    return log
