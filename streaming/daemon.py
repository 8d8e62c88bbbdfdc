"""The ingest daemon: Kafka in, minute shards out, every message in exactly one shard.

The newest shard of a partition says where to read on; nothing else does. So a stop is quick (open
shards are dropped and read again), a crash is no special case, and what a broker or a disk refuses
is tried again with a new consumer.
"""

import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from streaming.reader import Reader, Stopped
from streaming.source import Source
from streaming.tally import IngestProgress, IngestSummary, Tally
from twintide.clock import Clock, monotonic_seconds
from twintide.columns import changes_of_newest
from twintide.config import Deployment
from twintide.errors import Refused, Retryable, TwintideError
from twintide.files import check_writable
from twintide.layout import make_ready
from twintide.probes import served
from twintide.shards import Ledger

__all__ = ["IngestProgress", "IngestSummary", "run"]

_RETRY_SECONDS = 1.0
_GIVE_UP_SECONDS = 30.0
_END_SECONDS = 4.0
_NOT_OURS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


def run(
    deployment: Deployment,
    *,
    clock: Clock,
    until_caught_up: bool = False,
    metrics_port: int | None = None,
    metrics_host: str = "127.0.0.1",
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> IngestSummary:
    """Ingest until SIGTERM, SIGINT or `stop`; then return within seconds, dropping open shards.

    A broker that is away is waited for, and what fails unforeseen is logged and tried again.
    `until_caught_up`: take every partition, read to the log ends that are found at the start,
    commit what is open although its minute may not be over, write the watermarks and return; there
    what does not pass within 30 s is raised, and a topic that is missing is Refused.

    Raises Refused where an operator must decide (gap in the offsets, flood of bad messages, folders
    that cannot be written), Corrupt where the newest shard is damaged.
    """
    tally = Tally(deployment.kafka.topic, on_progress or (lambda _: None))
    stop = stop or threading.Event()
    ends = _set_by(() if until_caught_up else (signal.SIGTERM, signal.SIGINT), stop, tally)
    with ends, served(tally.metrics, metrics_port, host=metrics_host) as port:
        _check_writable(deployment.shards_dir)
        _check_writable(deployment.ledger_dir)
        tally.log.info("ingest_started", data_dir=str(deployment.data_dir), port=port)
        is_ready = is_done = False
        while not (is_done or stop.is_set()):
            try:
                is_ready = is_ready or _make_ready(deployment, tally)
                is_done = _read(
                    deployment, clock=clock, tally=tally, stop=stop, until_caught_up=until_caught_up
                )
            except Stopped:
                break
            except Exception as error:  # noqa: BLE001  what stops the line is for _bear to say
                _bear(error, tally, stop=stop, until_caught_up=until_caught_up)
        tally.log.info("ingest_ended", rows=tally.progress.rows, shards=tally.progress.shards)
    return tally.summary()


def _check_writable(folder: Path) -> None:
    """A disk that is full, or turns read-only later, heals; folders of somebody else do not."""
    try:
        check_writable(folder)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            return
        raise Refused(
            f"{error.filename or folder} cannot be written: {error.strerror}",
            hint="make it writable for the user that runs ingest, or let data_dir or "
            "folders.shards name another folder",
        ) from error


def _make_ready(deployment: Deployment, tally: Tally) -> bool:
    swept = make_ready(deployment.shards_dir)
    tally.log.info("folders_ready", swept=swept)
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    found = changes_of_newest(ledger, deployment.events)
    if found.added or found.left_out:
        tally.log.warning(
            "columns_changed",
            added=found.added,
            left_out=found.left_out,
            effect="shards from here on differ; what an older one lacks is null",
        )
    return True


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
        reader = Reader(deployment, source, clock=clock, tally=tally, stop=stop)
        while not stop.is_set():
            reader.turn()
            tally.metrics.turned()
            if until_caught_up and reader.is_caught_up():
                return True
    return False


def _bear(error: Exception, tally: Tally, *, stop: threading.Event, until_caught_up: bool) -> None:
    """What passes by itself is waited out; a run that shall end waits only so long."""
    tally.metrics.standing = "not ready: interrupted"
    ours = _as_ours(error, tally)
    if until_caught_up and monotonic_seconds() - tally.moved_at > _GIVE_UP_SECONDS:
        raise ours
    tally.interrupted(ours)
    stop.wait(_RETRY_SECONDS)
    tally.metrics.turned()


def _as_ours(error: Exception, tally: Tally) -> Retryable:
    """What may pass. Raises what does not: that is for an operator."""
    if isinstance(error, Retryable):
        return error
    if isinstance(error, TwintideError):
        raise error
    if isinstance(error, OSError):  # a full disk, say: nothing is lost, Kafka still has it
        return Retryable(f"the disk refuses: {error}", hint="see `data_dir`")
    return tally.failed(error)


def _look_for_topic(source: Source, tally: Tally, *, must_be: bool) -> None:
    if source.topic.partitions:
        return
    if must_be:
        raise Refused(
            f"Kafka has no topic {tally.topic}",
            hint="`twintide replay` makes it, or kafka.topic names another",
        )
    tally.log.warning("topic_missing", effect="waits for it")


@contextmanager
def _set_by(
    signals: Sequence[signal.Signals], stop: threading.Event, tally: Tally
) -> Iterator[None]:
    """While the block runs, these signals ask for a stop; only the main thread can hear them.

    A thread of its own hears them as well: the main one is deaf while a disk or a lock holds it,
    and then the program ends without it. That is safe as any crash is.
    """
    if not signals or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, says = socket.socketpair()
    says.setblocking(False)  # noqa: FBT003  its name for it
    before = {each: signal.signal(each, lambda *_: stop.set()) for each in signals}
    waker = signal.set_wakeup_fd(says.fileno(), warn_on_full_buffer=False)
    ended = threading.Event()
    watch = threading.Thread(target=_end_in_time, args=(heard, signals, stop, ended, tally))
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(waker)
        for each, handler in before.items():
            signal.signal(each, handler)
        says.close()
        watch.join()
        heard.close()


def _end_in_time(
    heard: socket.socket,
    signals: Sequence[signal.Signals],
    stop: threading.Event,
    ended: threading.Event,
    tally: Tally,
) -> None:
    """End the program some seconds after a signal, if it has not ended by then."""
    while number := heard.recv(1):
        if number[0] in signals:
            stop.set()
            break
    else:
        return
    if not ended.wait(_END_SECONDS):
        tally.log.warning("ingest_ended_at_once", why="a write or an answer takes too long")
        os._exit(0)
