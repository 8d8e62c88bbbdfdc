"""The ingest daemon: Kafka in, minute shards out, every message in exactly one shard.

The newest shard of a partition says where to read on; nothing else does. So a stop is quick (open
shards are dropped and read again), a crash is no special case, and what a broker or a disk refuses
is tried again with a new consumer.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from streaming.metrics import served
from streaming.reader import Reader
from streaming.source import Source
from streaming.tally import IngestProgress, IngestSummary, Tally
from twintide.clock import Clock, monotonic_seconds
from twintide.config import Deployment
from twintide.errors import Refused, Retryable
from twintide.files import sweep_temporaries

__all__ = ["IngestProgress", "IngestSummary", "run"]

_RETRY_SECONDS = 1.0
_GIVE_UP_SECONDS = 30.0


def run(
    deployment: Deployment,
    *,
    clock: Clock,
    until_caught_up: bool = False,
    metrics_port: int | None = None,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> IngestSummary:
    """Ingest until SIGTERM, SIGINT or `stop`; then return within seconds, dropping open shards.

    A broker that is away is waited for. `until_caught_up`: take every partition, read to the log
    ends that are found at the start, commit what is open although its minute may not be over, write
    the watermarks and return; there a broker that does not answer for 30 s raises Retryable, and a
    topic that is missing Refused.

    Raises Refused where an operator must decide (gap in the offsets, flood of bad messages),
    Corrupt where the newest shard is damaged.
    """
    tally = Tally(deployment.kafka.topic, on_progress or (lambda _: None))
    stop = stop or threading.Event()
    signals = () if until_caught_up else (signal.SIGTERM, signal.SIGINT)
    swept = sweep_temporaries(deployment.shards_dir)
    with _set_by(signals, stop), served(tally.metrics, metrics_port) as port:
        tally.log.info("ingest_started", data_dir=str(deployment.data_dir), swept=swept, port=port)
        is_done = False
        while not (is_done or stop.is_set()):
            try:
                is_done = _read(
                    deployment, clock=clock, tally=tally, stop=stop, until_caught_up=until_caught_up
                )
            except Retryable as error:
                _bear(error, tally, stop=stop, until_caught_up=until_caught_up)
            except OSError as error:  # a full disk, say: nothing is lost, Kafka still has it
                refusal = Retryable(f"the disk refuses: {error}", hint="see `data_dir`")
                _bear(refusal, tally, stop=stop, until_caught_up=until_caught_up)
        tally.log.info("ingest_ended", rows=tally.progress.rows, shards=tally.progress.shards)
    return tally.summary()


def _read(
    deployment: Deployment,
    *,
    clock: Clock,
    tally: Tally,
    stop: threading.Event,
    until_caught_up: bool,
) -> bool:
    """Read with one consumer until stopped (False) or caught up (True)."""
    takes_all = until_caught_up or deployment.kafka.assignment == "all"
    with Source(deployment.kafka, takes_all=takes_all) as source:
        _look_for_topic(source, tally, must_be=until_caught_up)
        reader = Reader(deployment, source, clock=clock, tally=tally)
        while not stop.is_set():
            reader.turn()
            tally.metrics.turned()
            if until_caught_up and reader.is_caught_up():
                return True
    return False


def _bear(error: Retryable, tally: Tally, *, stop: threading.Event, until_caught_up: bool) -> None:
    """What passes by itself is waited out; a run that shall end waits only so long."""
    tally.metrics.is_ready = False
    if until_caught_up and monotonic_seconds() - tally.answered_at > _GIVE_UP_SECONDS:
        raise error
    tally.log.warning("ingest_interrupted", why=error.message)
    stop.wait(_RETRY_SECONDS)
    tally.metrics.turned()


def _look_for_topic(source: Source, tally: Tally, *, must_be: bool) -> None:
    if source.partitions():
        return
    if must_be:
        raise Refused(
            f"Kafka has no topic {source.topic}",
            hint="`twintide replay` makes it, or kafka.topic names another",
        )
    tally.log.warning("topic_missing", effect="waits for it")


@contextmanager
def _set_by(signals: Sequence[signal.Signals], stop: threading.Event) -> Iterator[None]:
    """While the block runs, these signals ask for a stop; only the main thread can hear them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, lambda *_: stop.set()) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
