"""The ledger that shards form: which there are, in order, and how far ingest has come.

Below `shards/` lie the shards and nothing else. Beside it, in `shards.ledger/`, lies all else that
ingest writes: the claims that commit shards, watermarks, quarantine. The footers of a partition, in
order, are its ledger: the only record of progress.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from twintide.chain import Chains, Gap, Link
from twintide.claims import Claims
from twintide.clock import SystemClock, floor_to_minutes, from_unix_ms, has_come, iso, to_unix_ms
from twintide.errors import Corrupt, Refused
from twintide.files import hidden_file, link_once, publish_file, remove_file
from twintide.history import PARTITION as HISTORY
from twintide.history import History
from twintide.records import Instant, Record
from twintide.rowgroups import RowGroups
from twintide.shardfile import (
    SHARD_NAME,
    Count,
    Offset,
    Partition,
    ShardFooter,
    Stamp,
    Topic,
    footer_in,
    hour_folder,
    minute_of,
    path_of,
    read_footer,
    read_shard,
    sealed,
    shard_path,
)
from twintide.telemetry import get_log

__all__ = [
    "Ledger",
    "ShardFooter",
    "ShardName",
    "Stamp",
    "Watermark",
    "hour_of",
    "ledger_folder",
    "minute_of",
    "read_footer",
    "read_shard",
    "shard_path",
]

_RECENT = timedelta(days=2)
_FOLDER = re.compile(r"^date=(\d{4}-\d{2}-\d{2})/hour=(\d{2})$")


@dataclass(frozen=True, order=True)
class ShardName:
    """A shard as a listing shows it: its footer was not read."""

    partition: int
    first: int
    hour_at: datetime
    path: Path

    def footer(self) -> ShardFooter:
        """Raises Corrupt where the file cannot be read or is not what its name says."""
        return read_footer(self.path)


def _maker_of(claim: Path) -> str:
    is_of_history = claim.parent.name == str(HISTORY)
    return "`twintide train backfill --files`" if is_of_history else "ingest, when it starts,"


class Watermark(Record):
    """One file per partition: up to where ingest stood at the end of the log, and when that was.

    It lets a day be complete although a partition is silent. It is no progress: only shards are.
    """

    topic: Topic
    partition: Partition
    next: Offset
    complete_until: Instant
    """Everything that the broker had stored by then has an offset below `next`."""

    partitions: Count
    topic_id: str | None = None
    """Kafka's id of the topic."""


class PartitionTrouble(Record):
    """One file per partition that ingest cannot read at the moment, for whoever looks from outside.
    It is gone once the partition is read again, and nothing depends on it.
    """

    topic: Topic
    partition: Partition
    what: str
    hint: str
    needs_operator: bool
    """Whether it does not pass by itself."""

    since: Instant
    told_at: Instant
    """When it was last so; written anew about once a minute while it lasts."""


@dataclass(frozen=True)
class _Tail:
    """The newest shard of a partition, as this process has committed or found it."""

    footer: ShardFooter
    stamp: Stamp
    claim: Path
    path: Path


def ledger_folder(shards_dir: Path) -> Path:
    """The folder beside the shards, on the same file system: claims are hard links to shards."""
    real = shards_dir.resolve()
    return real.with_name(f"{real.name}.ledger")


class Ledger:
    """The shards of one topic below one folder."""

    def __init__(self, root: Path, topic: str) -> None:
        self.root = root
        self.topic = topic
        self.folder = ledger_folder(root)
        self._tails: dict[int, _Tail] = {}

    # What there is.

    def hours(self) -> Iterator[tuple[datetime, Path]]:
        """Folders of an hour, newest first; none is looked at before it is asked for."""
        if not self.root.is_dir():
            return
        for day in sorted(self.root.glob("date=*"), reverse=True):
            for hour in sorted(day.glob("hour=*"), reverse=True):
                yield hour_of(hour), hour

    def names(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[ShardName]:
        """Shards by hour, then partition, then offset; of all hours, or of those from the hour of
        `since` on that begin before `until`.
        """
        wanted = []
        for hour_at, hour in self.hours():
            if since is not None and hour_at < floor_to_minutes(since, 60):
                break
            if until is None or hour_at < until:
                wanted.append((hour_at, hour))
        for hour_at, hour in reversed(wanted):
            yield from sorted(self._names_in(hour, hour_at))

    def _names_in(self, hour: Path, hour_at: datetime) -> Iterator[ShardName]:
        try:
            paths = list(hour.iterdir())
        except FileNotFoundError:  # somebody deletes old days
            return
        for path in paths:
            match = SHARD_NAME.match(path.name)
            if match and match["topic"] == self.topic:
                yield ShardName(int(match["partition"]), int(match["first"]), hour_at, path)

    def partitions(self) -> list[int]:
        """Those that ingest has taken up or watched, or that the newest hour has shards of."""
        found = set(self._claimed_partitions()) | set(self.watermarks())
        for hour_at, hour in self.hours():
            return sorted(found | {name.partition for name in self._names_in(hour, hour_at)})
        return sorted(found)

    def _claimed_partitions(self) -> list[int]:
        claimed = self._claims(0).folder.parent
        return sorted(int(each.name) for each in claimed.glob("[0-9]" * 5))

    def newest(self, partition: int) -> ShardFooter | None:
        """The last shard of a partition that is visible. None where there is none."""
        for claim in self._claims(partition).newest_first():
            try:
                footer = self._claimed(partition, claim)
            except FileNotFoundError:  # pruned a moment ago: there is a newer one
                return self.newest(partition)
            if path_of(self.root, footer).exists():
                return footer
        mark = self.watched(partition)
        if mark is not None and mark.next == 0:
            return None  # it had no message, so that no listing of all hours would find a shard
        name = self._newest_listed(partition)
        return None if name is None else name.footer()

    def _newest_listed(
        self, partition: int, *, behind: ShardFooter | None = None
    ) -> ShardName | None:
        """The last shard that a listing shows; `behind`: one that follows on that shard, as far as
        the folders of the newest two days and its own hour tell.
        """
        newest_at: datetime | None = None
        names: list[ShardName] = []  # those in the future are older than some that have come
        for hour_at, hour in self.hours():
            newest_at = newest_at or (hour_at if has_come(hour_at, SystemClock()) else None)
            is_too_old = newest_at is not None and hour_at < newest_at - _RECENT
            if behind and (is_too_old or hour_at < floor_to_minutes(behind.minute_at, 60)):
                break
            names += [
                name
                for name in self._names_in(hour, hour_at)
                if name.partition == partition and (behind is None or name.first >= behind.next)
            ]
            if names and has_come(hour_at, SystemClock()):
                break
        return max(names, default=None)

    # How the chain grows. For ingest alone.

    def take_up(self, partition: int) -> ShardFooter | None:
        """The shard behind which ingest goes on, made visible where a crash, or somebody who
        removed it, has left only its claim. None where there is none.

        Raises Corrupt where it is not what was committed.
        """
        claims = self._claims(partition)
        try:
            found = [self._tail_at(partition, claim) for claim in claims.newest_first()[:1]]
        except FileNotFoundError:  # a rival has gone on, and pruned it
            return self.take_up(partition)
        tail = found[0] if found else None
        unclaimed = self._newest_listed(partition, behind=tail.footer if tail else None)
        if unclaimed is not None:  # of format 1, or its ledger was left behind
            claim = claims.adopt(unclaimed.path, after=unclaimed.footer().after)
            tail = self._tail_at(partition, claim)
        if tail is None:
            return None
        self._make_sure_of(tail)
        self._tails[partition] = tail
        return tail.footer

    def commit(self, footer: ShardFooter, rows: RowGroups, *, after: int | None) -> ShardFooter:
        """Add a shard behind offset `after`, where the chain stands; None: the first of all.

        Raises FileExistsError where the chain stands elsewhere by now: then nothing of it counts;
        and Refused where a partition of the topic begins before the history ends.
        """
        if after is None and footer.partition != HISTORY:
            self._look_at_history(footer)
        before = self._tail_before(footer.partition, after)
        footer = footer.model_copy(update={"before": before.stamp if before else None})
        data = sealed(footer, rows)
        path = path_of(self.root, footer)
        claims = self._claims(footer.partition)
        claims.commit(after, data, shown_as=path)
        self._tails[footer.partition] = _Tail(footer, Stamp.of(data), claims.path(after), path)
        return footer

    def _look_at_history(self, first: ShardFooter) -> None:
        """Whether the first shard of a partition lies behind the history. What lies before its end
        may be in it as well, and nobody could tell.
        """
        history = self.history()
        if history is not None and to_unix_ms(first.minute_at) <= history.last_ms:
            raise Refused(
                f"{self.topic}, partition {first.partition}, begins at {iso(first.minute_at)}, "
                f"and the history of files goes to {iso(from_unix_ms(history.last_ms))}: what lies "
                "between would count twice",
                hint="let the topic forget what is older (kafka-delete-records), or begin anew: "
                "with a data_dir of its own, ingest first, then the history up to where the "
                "topic begins (`train backfill --files … --to DAY`)",
            )

    def _tail_before(self, partition: int, after: int | None) -> _Tail | None:
        """The shard before, which is still there as it was committed."""
        tail = self._tails.get(partition)
        if tail is None or tail.footer.next != after:
            self.take_up(partition)
            tail = self._tails.get(partition)
        elif tail.claim.exists():
            self._make_sure_of(tail)
        else:
            raise FileExistsError(f"others have gone on behind offset {after}")
        if (tail.footer.next if tail else None) != after:
            raise FileExistsError(f"partition {partition} does not end at {after}")
        return tail

    def _tail_at(self, partition: int, claim: Path) -> _Tail:
        footer = self._claimed(partition, claim)
        return _Tail(footer, Stamp.of_file(claim), claim, path_of(self.root, footer))

    def _make_sure_of(self, tail: _Tail) -> None:
        if not tail.path.exists():
            self._claims(tail.footer.partition).show(tail.claim, tail.path)
            get_log("ingest").warning("shard_restored", path=str(tail.path))
        elif Stamp.of_file(tail.path) != tail.stamp:
            raise Corrupt(
                f"shard {tail.path} was changed since it was committed",
                hint=f"its claim is {tail.claim}: delete the one of the two that is wrong, and "
                "ingest makes it anew from the other",
            )

    def _claims(self, partition: int) -> Claims:
        return Claims(self.folder / "claims" / self.topic / f"{partition:05d}")

    def _claimed(self, partition: int, claim: Path) -> ShardFooter:
        """The footer of a claim. Raises FileNotFoundError where it has gone."""
        try:
            footer = footer_in(claim)
        except Corrupt:
            claim.stat()
            raise
        if (footer.topic, footer.partition) != (self.topic, partition):
            raise Corrupt(
                f"claim {claim} holds a shard of {footer.topic}, partition {footer.partition}",
                hint="delete it: the newest shard itself says where ingest stands",
            )
        return footer

    # Up to where all has come.

    def watermark_path(self, partition: int) -> Path:
        """Where a partition's watermark is."""
        return self.folder / "watermarks" / self.topic / f"{partition:05d}.json"

    def publish_watermark(self, watermark: Watermark) -> None:
        """Replace a partition's watermark."""
        publish_file(self.watermark_path(watermark.partition), watermark.to_json())

    def watched(self, partition: int) -> Watermark | None:
        """The watermark of one partition. Raises Corrupt."""
        marks = [
            mark
            for path in self._watermark_paths(f"{partition:05d}")
            if (mark := self._watermark_at(path)) is not None
        ]
        return marks[-1] if marks else None

    def watermarks(self) -> dict[int, Watermark]:
        """Partition -> its watermark, for every partition that ingest has been given."""
        marks = (self._watermark_at(path) for path in self._watermark_paths("[0-9]" * 5))
        return {mark.partition: mark for mark in marks if mark is not None}

    def _watermark_paths(self, partitions: str) -> list[Path]:
        """Where format 1 kept them first, so that newer ones count."""
        beside_shards = (self.root / "_watermarks").glob(f"{self.topic}-{partitions}.json")
        own = self.watermark_path(0).parent.glob(f"{partitions}.json")
        return [*sorted(beside_shards), *sorted(own)]

    def _watermark_at(self, path: Path) -> Watermark | None:
        """None where it has been moved since it was listed."""
        try:
            mark = Watermark.from_json(path.read_bytes(), name=f"watermark {path}")
        except FileNotFoundError:
            return None
        if mark.topic != self.topic or path.stem[-5:] != f"{mark.partition:05d}":
            raise Corrupt(
                f"{path} is the watermark of {mark.topic}, partition {mark.partition}",
                hint="delete it: ingest writes it anew",
            )
        return mark

    # What was never in the topic.

    def history_path(self) -> Path:
        """Where the record of the topic's history is."""
        return self.folder / "history" / f"{self.topic}.json"

    def publish_history(self, history: History) -> None:
        """Say what the history is made of, and whether it is whole."""
        publish_file(self.history_path(), history.to_json())

    def history(self) -> History | None:
        """None where there is none. Raises Corrupt."""
        path = self.history_path()
        try:
            return History.from_json(path.read_bytes(), name=f"history {path}")
        except FileNotFoundError:
            return None

    def awaits_history(self) -> bool:
        """Whether a history was begun and is not whole: nothing is learnt until it is."""
        history = self.history()
        return history is not None and not history.is_whole

    # What cannot be read at the moment.

    def trouble_path(self, partition: int) -> Path:
        """Where a partition's trouble is."""
        return self.folder / "troubles" / self.topic / f"{partition:05d}.json"

    def publish_trouble(self, trouble: PartitionTrouble) -> None:
        """Say what is wrong with a partition, in place of what was said before."""
        publish_file(self.trouble_path(trouble.partition), trouble.to_json())

    def end_trouble(self, partition: int) -> None:
        """It is read again."""
        remove_file(self.trouble_path(partition))

    def troubles(self) -> list[PartitionTrouble]:
        """By partition. Raises Corrupt."""
        found = []
        for path in sorted(self.trouble_path(0).parent.glob(f"{'[0-9]' * 5}.json")):
            with suppress(FileNotFoundError):  # it has passed since it was listed
                found.append(PartitionTrouble.from_json(path.read_bytes(), name=f"trouble {path}"))
        return found

    # Rejected messages.

    def has_claimed(self, footer: ShardFooter, *, after: int | None) -> bool:
        """Whether this very attempt to commit took effect: no other names its quarantine file."""
        for path in (self._claims(footer.partition).path(after), path_of(self.root, footer)):
            with suppress(Corrupt):  # not there, as a rule
                if footer_in(path).quarantine == footer.quarantine:
                    return True
        return False

    def set_aside(self, footer: ShardFooter, data: bytes) -> Path:
        """Write the quarantine file that a footer names, before its shard; where it is.

        What a crash leaves half done lies where that of a shard lies: a start sweeps a folder for
        each partition, and none for each hour so far.
        """
        name = str(footer.quarantine)
        path = self.quarantine_path(name, footer.minute_at)
        with hidden_file(self._claims(footer.partition).folder / name, data) as hidden:
            link_once(hidden, path)
        return path

    def quarantine_path(self, name: str, minute_at: datetime) -> Path:
        """Where the quarantine file of that name is, for a shard of that minute."""
        own = hour_folder(self.folder / "quarantine" / self.topic, minute_at) / name
        beside_shard = hour_folder(self.root, minute_at) / name
        return beside_shard if beside_shard.exists() and not own.exists() else own

    # Whether it is sound.

    def check(self) -> list[str]:
        """Every breach of the ledger: gap, overlap, damage, edits, copies, quarantine files that
        are missing or changed; [] if sound. None hides another.
        """
        hidden = set(self._unseen())
        chains, breaches = Chains(), list(self._damaged())
        for name in self.names():
            breaches += self.look_at(name, chains, whole=True)
        for name in self.names_within(list(chains.gaps())):  # since the folder was listed
            breaches += self.look_at(name, chains, whole=True)
        breaches += [str(gap) for gap in chains.gaps()] + self._history_breaches()
        return breaches + [
            f"shard {path} was removed: {_maker_of(claim)} makes it anew from {claim}"
            for claim, path in sorted(hidden & set(self._unseen()))
        ]

    def _history_breaches(self) -> list[str]:
        """Where the record of a history is damaged, missing, or another one than its shards'."""
        try:
            history, last = self.history(), self.newest(HISTORY)
        except Corrupt as error:
            return [error.message]
        rows = 0 if last is None else last.next
        if history is None:
            return [f"{self.history_path()} was removed, and shards of it are there"] * (rows > 0)
        if history.is_whole and rows != history.rows:
            return [f"the history of {self.topic} has {rows} of {history.rows} rows in shards"]
        return []

    def look_at(self, name: ShardName, chains: Chains, *, whole: bool) -> list[str]:
        """Add a shard to its chain; what is wrong with it. `whole`: by reading all of it."""
        try:
            footer = name.footer()
            if whole:
                read_shard(name.path)
            stamp = Stamp.of_file(name.path) if whole else None
        except FileNotFoundError:  # with all that lies before it, as an operator may
            return []
        except Corrupt as error:
            return [error.message] if name.path.exists() else []
        if name.path != path_of(self.root, footer):
            return [f"shard {name.path} belongs to {path_of(self.root, footer).parent}"]
        link = Link(name.path, footer, stamp, has_come(footer.minute_at, SystemClock()))
        return [*chains.add(link), *self._quarantine_breaches(footer, name.path, whole=whole)]

    def _quarantine_breaches(
        self, footer: ShardFooter, path: Path, *, whole: bool
    ) -> Iterator[str]:
        if footer.quarantine is None:
            return
        quarantine = self.quarantine_path(footer.quarantine, footer.minute_at)
        try:
            stamp = Stamp.of_file(quarantine) if whole else None
            quarantine.stat()
        except FileNotFoundError:
            yield f"quarantine file {quarantine} is missing, which shard {path} names"
            return
        if stamp is not None and footer.quarantine_stamp not in {None, stamp}:
            yield f"quarantine file {quarantine} is not the one that shard {path} names"

    def names_within(self, gaps: Sequence[Gap]) -> Iterator[ShardName]:
        """Shards that fill gaps: those that have come since somebody looked, or lie elsewhere."""
        for name in self.names() if gaps else ():
            if any(name.partition == gap.partition and name.first in gap.offsets for gap in gaps):
                yield name

    def _unseen(self) -> Iterator[tuple[Path, Path]]:
        """Newest claims whose shard is not visible: for a moment while it is committed."""
        for partition in self._claimed_partitions():
            for claim in self._claims(partition).newest_first()[:1]:
                with suppress(FileNotFoundError, Corrupt):
                    path = path_of(self.root, self._claimed(partition, claim))
                    if not path.exists():
                        yield claim, path

    def _damaged(self) -> Iterator[str]:
        """What is wrong with claims and watermarks themselves."""
        looks: list[Callable[[], object]] = [
            partial(self._watermark_at, path) for path in self._watermark_paths("[0-9]" * 5)
        ]
        for partition in self._claimed_partitions():
            claims = self._claims(partition).newest_first()
            looks += [partial(self._claimed, partition, claim) for claim in claims]
        for look in looks:
            try:
                look()
            except FileNotFoundError:  # pruned a moment ago
                continue
            except Corrupt as error:
                yield error.message


def hour_of(folder: Path) -> datetime:
    """The hour that a folder of shards is for."""
    match = _FOLDER.match(f"{folder.parent.name}/{folder.name}")
    if match is None:
        raise Corrupt(
            f"{folder} is no folder of shards", hint="nothing else may be put below shards/"
        )
    return datetime.strptime(f"{match[1]} {match[2]}", "%Y-%m-%d %H").replace(tzinfo=UTC)
