"""How programs are seen from outside: logs as JSON events on stderr, metrics for Prometheus.

A log line is one decision, named in the past tense, with fields: `log.info("shard_committed",
rows=n)`.
"""

import logging
import sys

import structlog


def configure_logging(*, as_json: bool = True, level: int = logging.INFO) -> None:
    """Daemons log JSON; a person at a terminal reads plain lines."""
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def get_log(stage: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose every line names the stage."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(stage=stage)
    return log
