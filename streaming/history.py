"""Shards of data files that never were in Kafka: months of history, for a topic that is fresh.

They are cut as ingest would have cut them, had each event been stored when it happened, and are
committed by the same claims, in a partition of their own (`twintide.history`). A record that says
which files, and how much of them, is there before the first shard; so whoever begins again after a
crash goes on behind the newest shard, and ends in the same bytes.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streaming.messages import Int64s
from streaming.offline import Appender, times_of
from twintide.clock import Clock, from_unix_ms, has_come, iso, to_unix_ms
from twintide.config import Deployment
from twintide.datafile import has_rows, parts_of, read_in_pieces
from twintide.errors import Corrupt, Refused
from twintide.events import EARLIEST_MS
from twintide.files import exclusive_lock, remove_file
from twintide.history import PARTITION, History, HistoryFile
from twintide.layout import make_ready
from twintide.scratch import Scratch, scratch_folder
from twintide.shards import Ledger, Stamp
from twintide.slices import all_paths, chain_dirs

ROWS_AT_ONCE = 1_000_000
"""Rows in memory while files are put in order; a single minute that has more is held whole."""

_STEP_ROWS = 50_000
_MINUTE_MS = 60_000

OnProgress = Callable[[int, int, str], None]
"""Called with rows that are done, how many there are (0: not known yet), and what is done."""


@dataclass(frozen=True)
class Taken:
    """What a history is made of, and what of it was made now."""

    history: History
    before: int
    """Rows that were in shards already."""


def take_history(
    deployment: Deployment,
    files: Path,
    *,
    until: datetime | None,
    clock: Clock,
    on_progress: OnProgress = lambda *_: None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Taken:
    """Make shards of every event of a data file, or a folder of such, that happened before `until`.

    Begun again after whatever ended it, it goes on; where all is there it does nothing, unless a
    later `until` says that more of its days are over. Raises Refused where a row cannot be read,
    where the files, or what of them to take, are not those that it was begun with, where one is
    there twice, and where they reach into what the topic's shards hold or what is sliced.
    """
    _check_not_ours(deployment, files)
    make_ready(deployment.shards_dir)
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    lock = ledger.history_path().with_suffix(".lock")
    with exclusive_lock(lock, who="taking a history"):
        on_progress(0, 0, "reading")
        found = _stamped(files)
        known = ledger.history()
        if known is not None:
            _check_same(known, found, files, deployment, until=until)
            known = _up_to(ledger, known, until)
            if known.is_whole:
                ledger.take_up(PARTITION)  # where somebody has removed the newest shard
                return Taken(known, known.rows)
        elif ledger.newest(PARTITION) is not None:
            raise Corrupt(
                f"{ledger.topic} has shards of a history, and no record {ledger.history_path()}",
                hint="restore it from a backup, or begin again in a data_dir of its own",
            )
        _check_no_twins(deployment, found, files)
        survey = _Survey.of(deployment, files, until, on_progress)
        _check_unchanged(files, found)
        history = known or _history(deployment, files, found, survey, until=until, clock=clock)
        if ledger.newest(PARTITION) is None:
            _begin(ledger, deployment, history, files)
        before = _make_shards(deployment, ledger, files, survey, on_progress, rows_at_once)
        _check_unchanged(files, found)
        whole = history.model_copy(update={"is_whole": True})
        ledger.publish_history(whole)  # crash before: everything is there, and is looked at anew
    return Taken(whole, before)


@dataclass(frozen=True)
class _Stamped:
    """A file, as it was when it was read for its hash."""

    path: Path
    file: HistoryFile
    looked: tuple[int, int]
    """Its size and when it was changed: what is looked at once more afterwards."""


def _stamped(files: Path) -> list[_Stamped]:
    found = []
    for path in parts_of(files):
        looked = _looked(path)
        name = path.name if path == files else str(path.relative_to(files))
        found.append(_Stamped(path, HistoryFile(name=name, stamp=Stamp.of_file(path)), looked))
    return found


def _looked(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _check_not_ours(deployment: Deployment, files: Path) -> None:
    """Raises Refused where Twintide itself writes there: its shards would be taken once more."""
    whole = files.resolve()
    for own in (deployment.shards_dir, deployment.slices_dir, deployment.checkpoints_dir):
        if whole.is_relative_to(own.resolve()) or own.resolve().is_relative_to(whole):
            raise Refused(
                f"{files} is no folder of data files alone: Twintide writes {own}",
                hint="give --files the data file, or a folder that holds nothing else",
            )


def _check_no_twins(deployment: Deployment, found: list[_Stamped], files: Path) -> None:
    """Raises Refused where two files with rows are the same, byte for byte. Parts of a folder that
    hold no row often are, and where folders name values (`date=2026-03-01`) these count as well.
    """
    first: dict[tuple[Stamp, tuple[str, ...]], str] = {}
    for each in found:
        named = tuple(name for name in Path(each.file.name).parts[:-1] if "=" in name)
        twin = first.setdefault((each.file.stamp, named), each.file.name)
        if twin != each.file.name and has_rows(deployment, each.path, files):
            raise Refused(
                f"{each.file.name} is {twin} once more, and its events would count twice",
                hint=f"take one of the two out of {files}",
            )


def _up_to(ledger: Ledger, known: History, until: datetime | None) -> History:
    """The record with a later end, where there is one: it has the same rows and more days that are
    over.
    """
    if until is None or (known.until is not None and known.until >= until):
        return known
    later = known.model_copy(update={"until": until})
    ledger.publish_history(later)
    return later


@dataclass
class _Survey:
    """What a first reading of the files has found."""

    until_ms: int | None
    rows: int = 0
    beyond: int = 0
    first_ms: int = np.iinfo(np.int64).max
    last_ms: int = np.iinfo(np.int64).min
    is_in_order: bool = True
    minutes: dict[int, int] = field(default_factory=dict)
    """Minute of event time, counted from 1970 -> rows."""

    @classmethod
    def of(
        cls, deployment: Deployment, files: Path, until: datetime | None, on_progress: OnProgress
    ) -> "_Survey":
        """Read everything once. Raises Refused by the first row that cannot be read."""
        found = cls(None if until is None else to_unix_ms(until))
        for events in read_in_pieces(deployment, files):
            found.add(times_of(events, deployment.events.time))
            on_progress(found.rows + found.beyond, 0, "looked at")
        return found

    def add(self, times_ms: Int64s) -> None:
        own = times_ms if self.until_ms is None else times_ms[times_ms < self.until_ms]
        self.beyond += len(times_ms) - len(own)
        if not len(own):
            return
        self.is_in_order &= bool(own[0] >= self.last_ms and np.all(np.diff(own) >= 0))
        self.first_ms = min(self.first_ms, int(own.min()))
        self.last_ms = max(self.last_ms, int(own.max()))
        self.rows += len(own)
        for minute, count in zip(*np.unique(own // _MINUTE_MS, return_counts=True), strict=True):
            self.minutes[int(minute)] = self.minutes.get(int(minute), 0) + int(count)


def _check_same(
    known: History,
    found: list[_Stamped],
    files: Path,
    deployment: Deployment,
    *,
    until: datetime | None,
) -> None:
    """Whether it is what the history was begun with. Raises Refused."""
    own = {each.file.name: each.file.stamp for each in found}
    begun = {each.name: each.stamp for each in known.files}
    for name in sorted({*own, *begun}):
        if own.get(name) != begun.get(name):
            what = "has changed" if {name} <= own.keys() & begun.keys() else "is one too many"
            what = "is missing" if name not in own else what
            raise Refused(
                f"{known.topic} has a history already, of {_named(known)}, and it was begun with "
                f"other files than {files}: {name} {what}",
                hint=_ANOTHER if known.is_whole else f"give it the same files, or {_ANOTHER}",
            )
    takes_all = not known.beyond and (until is None or known.last_ms < to_unix_ms(until))
    if known.until != until and not takes_all:  # another end, and other rows before it
        raise Refused(
            f"the history of {known.topic} was begun with what happened before "
            f"{_end(known.until)}, and now it shall be before {_end(until)}",
            hint="give it the same --to (a day ends by training.day_starts_at and time_zone), or "
            f"{_ANOTHER}",
        )
    if not known.is_whole and known.read_as != _read_as(deployment):
        raise Refused(
            f"the history of {known.topic} was begun under another `events` or `data_file`",
            hint="declare them as they were until it is whole",
        )


_ANOTHER = "begin another one in a data_dir of its own"


def _named(history: History) -> str:
    first, more = history.files[0].name, len(history.files) - 1
    return f"{first} and {more} more" if more else first


def _end(until: datetime | None) -> str:
    return "the end of the files" if until is None else iso(until)


def _read_as(deployment: Deployment) -> str:
    said = [deployment.events.model_dump(mode="json"), deployment.data_file.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _check_unchanged(files: Path, found: list[_Stamped]) -> None:
    """Raises Refused where somebody has written a file meanwhile."""
    paths = [each.path for each in found]
    if parts_of(files) == paths and all(_looked(each.path) == each.looked for each in found):
        return
    raise Refused(
        f"{files} was changed while it was read",
        hint="begin again when nobody writes there any more",
    )


def _history(
    deployment: Deployment,
    files: Path,
    found: list[_Stamped],
    survey: _Survey,
    *,
    until: datetime | None,
    clock: Clock,
) -> History:
    """The record to begin with. Raises Refused where an event's time cannot be one of a log."""
    if not survey.rows:
        raise Refused(
            f"{files} holds no event before {_end(until)}", hint="give a later --to, or more files"
        )
    if survey.first_ms < EARLIEST_MS:
        raise Refused(
            f"{files} begins at {iso(from_unix_ms(survey.first_ms))}, and no event before 2000 is "
            "learnt",
            hint="is `data_file.times` right? or leave out what lies before",
        )
    if not has_come(from_unix_ms(survey.last_ms), clock):
        raise Refused(
            f"{files} ends at {iso(from_unix_ms(survey.last_ms))}, which has not come yet",
            hint="is `data_file.times` or `time_zone` right? --to DAY leaves out what lies ahead",
        )
    return History(
        topic=deployment.kafka.topic,
        files=tuple(each.file for each in found),
        read_as=_read_as(deployment),
        until=until,
        rows=survey.rows,
        beyond=survey.beyond,
        first_ms=survey.first_ms,
        last_ms=survey.last_ms,
    )


def _begin(ledger: Ledger, deployment: Deployment, history: History, files: Path) -> None:
    """Write down what is going to be made, where nothing speaks against it.

    From the record on, no partition of the topic can begin before the history's end, and nothing is
    sliced until it is whole. What came between the look and the record is looked for once more.
    """
    _check_is_before(ledger, deployment, history, files)
    ledger.publish_history(history)
    try:
        _check_is_before(ledger, deployment, history, files)
    except Refused:
        remove_file(ledger.history_path())  # crash before: the next call finds the same
        raise


def _check_is_before(ledger: Ledger, deployment: Deployment, history: History, files: Path) -> None:
    """Whether the history lies before all that came from Kafka, and before all that is sliced."""
    first = _first_of_topic(ledger)
    if first is not None and history.last_ms >= to_unix_ms(first):
        raise Refused(
            f"{files} goes to {iso(from_unix_ms(history.last_ms))}, and the shards of "
            f"{ledger.topic} begin at {iso(first)}: what lies between would count twice",
            hint=f"--to the last day that is over by {iso(first)} leaves out what came from Kafka",
        )
    is_learnt = any(deployment.checkpoints_dir.glob("*ly-[0-9]*"))
    if is_learnt or any(all_paths(root) for root in chain_dirs(deployment.slices_dir)):
        raise Refused(
            f"what came from Kafka is sliced or learnt already below {deployment.data_dir}, and "
            "a history comes before it",
            hint="begin with the history in a data_dir of its own; ingest fills it from Kafka too",
        )


def _first_of_topic(ledger: Ledger) -> datetime | None:
    """The first minute that a partition of the topic has a shard of."""
    hour_at: datetime | None = None
    minutes = []
    for name in ledger.names():
        if name.partition == PARTITION or (hour_at is not None and name.hour_at > hour_at):
            continue
        hour_at = name.hour_at
        minutes.append(name.footer().minute_at)
    return min(minutes, default=None)


def _make_shards(
    deployment: Deployment,
    ledger: Ledger,
    files: Path,
    survey: _Survey,
    on_progress: OnProgress,
    rows_at_once: int,
) -> int:
    """Make the shards that are missing; how many rows the others hold."""
    appender = Appender(deployment, ledger, PARTITION, partitions=1)
    before = appender.next
    folder = ledger.folder / "history" / f"{ledger.topic}.rows"
    with scratch_folder(folder) as scratch:
        pieces = (
            _in_order(deployment, files, survey)
            if survey.is_in_order
            else _sorted(deployment, files, survey, scratch, before, rows_at_once)
        )
        for row, piece in pieces:
            for start in range(max(0, before - row), len(piece), _STEP_ROWS):
                events = piece.slice(start, _STEP_ROWS)
                appender.add(events)
                at = from_unix_ms(int(times_of(events, deployment.events.time)[-1]))
                done = row + start + len(events)
                on_progress(done, survey.rows, f"{done:,} in shards, to {at:%Y-%m-%d %H:%M}")
    appender.finish()
    return before


_Pieces = Iterator[tuple[int, pa.Table]]
"""Runs of rows in order of time, and the number of the first of each."""


def _in_order(deployment: Deployment, files: Path, survey: _Survey) -> _Pieces:
    """As the files have them."""
    row = 0
    for events in _own(deployment, files, survey):
        yield row, events
        row += len(events)


def _sorted(
    deployment: Deployment,
    files: Path,
    survey: _Survey,
    folder: Path,
    before: int,
    rows_at_once: int,
) -> _Pieces:
    """Those behind the first `before`, at least: first spread over files of whole minutes, then
    each of these sorted; equal times as they stand in the files.
    """
    starts, ends = _runs_of_minutes(survey.minutes, rows_at_once)
    first = int(np.searchsorted(ends, before, side="right"))
    scratch = Scratch(folder)
    for events in _own(deployment, files, survey):
        minutes = times_of(events, deployment.events.time) // _MINUTE_MS
        run = np.searchsorted(starts, minutes, side="right") - 1
        is_missing = run >= first
        if is_missing.any():
            scratch.spread(events.filter(pa.array(is_missing)), run[is_missing])
    for number in range(first, len(starts)):
        events = scratch.take(number)
        if events is not None:
            order = pc.sort_indices(events, sort_keys=[(deployment.events.time, "ascending")])
            yield int(ends[number]) - len(events), events.take(order)


def _own(deployment: Deployment, files: Path, survey: _Survey) -> Iterator[pa.Table]:
    """Without what happened when the history is over."""
    for events in read_in_pieces(deployment, files):
        if survey.until_ms is None:
            yield events
        else:
            times_ms = times_of(events, deployment.events.time)
            yield events.filter(pa.array(times_ms < survey.until_ms))


def _runs_of_minutes(minutes: dict[int, int], rows_at_once: int) -> tuple[Int64s, Int64s]:
    """Where runs of whole minutes begin, and the number of the row behind each."""
    starts, ends, first = list[int](), list[int](), 0
    for minute, rows in sorted(minutes.items()):
        end = ends[-1] if ends else 0
        if not ends or end + rows - first > rows_at_once:
            starts.append(minute)
            ends.append(end)
            first = end
        ends[-1] = end + rows
    return np.array(starts, np.int64), np.array(ends, np.int64)
