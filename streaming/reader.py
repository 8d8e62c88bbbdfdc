"""One consumer's reading: messages in, shards out, positions from the shards and nowhere else.

An open shard is only memory. Whoever loses a race or a partition drops it, and whoever comes next
reads the same messages again. Each partition is either being read, or asked for (what does its log
hold?), or in trouble and tried again later; nothing that happens to one delays the others.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from streaming.ask import LogState, Said
from streaming.blocks import Block, Damaged, Strayed
from streaming.content import content_of
from streaming.cutter import Cut, PartitionCutter, overfull
from streaming.patrol import Patrol
from streaming.questions import Asked, Questions
from streaming.reading import STALLED_SECONDS, Reading
from streaming.rejects import RejectWatch
from streaming.resume import Stand, resume_point
from streaming.runs import Run, runs_of
from streaming.source import Source
from streaming.tally import Tally
from streaming.targets import Targets
from streaming.troubles import Ends, Trouble, Troubles
from streaming.writer import publish
from twintide.clock import Clock, monotonic_seconds
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused, Retryable, TwintideError, Unknown
from twintide.shards import Ledger, PartitionTrouble, ShardFooter

_POLL_SECONDS = 0.2
_ALONE_SECONDS = 15.0
_UNREADABLE_SECONDS = 30.0
_LASTING_TRIES = 5


class Stopped(Exception):
    """What is open is dropped, to be read again by whoever comes next."""


class Reader:
    """Reads the partitions of one consumer. Any error leaves nothing half done: throw it away."""

    def __init__(
        self,
        deployment: Deployment,
        source: Source,
        *,
        clock: Clock,
        tally: Tally,
        stop: threading.Event | None = None,
    ) -> None:
        """`stop`: once it is set, no further shard is begun."""
        self._stop = stop or threading.Event()
        self._deployment = deployment
        self._config = deployment.shards
        self._topic = deployment.kafka.topic
        self._clock = clock
        self._source = source
        self._tally = tally
        self._log = tally.log
        self._ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
        self._fingerprint = deployment.events.fingerprint()
        self._watch = RejectWatch(self._topic, max_ratio=self._config.max_rejected_ratio)
        self._readings: dict[int, Reading] = {}
        self._to_resume: dict[int, ShardFooter | None] = {}
        """Partition -> its newest shard, while its log is asked for."""

        self._troubles = Troubles(self._tell)
        self._questions = Questions(source, clock)
        self._races: Counter[int] = Counter()
        """Partition -> races lost in a row."""

        self._patrol = Patrol(self._ledger, clock)
        self._polled_at = monotonic_seconds()
        """When the newest messages had come: what the topic was later than that, they are of."""

        self._listened = 0.0
        """Seconds spent in polls. Polls give one partition's messages after the other's, and a
        backlog of sparse minutes is minutes of work on shards: meanwhile nobody is stalled.
        """

        self._targets = Targets()

    def turn(self) -> None:
        """Poll once, and do all that follows from it.

        Raises Retryable where no broker answers, Refused where an operator must decide before
        anything can be read, Corrupt where a shard is not what was committed, and Stopped.
        """
        self._look_after_shards()
        began = monotonic_seconds()
        polled = self._source.poll(timeout_seconds=_POLL_SECONDS)
        self._polled_at = monotonic_seconds()
        self._listened += self._polled_at - began
        for partition in polled.gone:
            self._forget(partition, why="rebalance")
        for partition in sorted(polled.fresh | polled.strayed):
            self._begin(partition)
        for partition, blocks in groupby(polled.blocks, key=attrgetter("partition")):
            self._take(partition, blocks)
        self._cut_what_is_due()
        for said in self._source.heard():
            self._hear(said)
        self._try_again()
        self._questions.ask(self._to_resume, self._readings)
        self._tell_how_it_stands()

    # Positions: from the shards, and from nowhere else.

    def _begin(self, partition: int) -> None:
        """Ask what the log holds, to read on where the newest shard ends."""
        self._readings.pop(partition, None)
        self._questions.forget(partition)
        self._source.hold(partition)
        with self._its_own(partition, ends=Ends.ANSWER):
            self._patrol.check(partition)
            self._to_resume[partition] = self._ledger.take_up(partition)

    def _resume(self, partition: int, log: LogState) -> None:
        before = self._to_resume.pop(partition)
        stand = Stand.of(before, self._ledger.watched(partition))
        topic_id = self._source.topic.id
        epoch = stand.leader_epoch if stand else None
        try:
            first = resume_point(
                self._topic,
                partition,
                stand,
                begin=log.begin,
                end=log.end,
                topic_id=topic_id,
                agrees_until=log.agrees_until,
                accept_gap=self._config.accept_gap,
            )
        except Refused as error:
            self._in_trouble(partition, error, ends=Ends.ANSWER, needs_operator=True)
            return
        if stand is not None and first > stand.seen:
            self._log.warning("gap_accepted", partition=partition, missing=first - stand.seen)
        cutter = PartitionCutter(
            partition,
            self._config,
            first=first,
            before=before,
            watched_from=stand.next if stand else None,
        )
        self._readings[partition] = Reading(
            cutter,
            moved_at=monotonic_seconds(),
            moved_when_listened=self._listened,
            topic_id=topic_id,
            leader_epoch=epoch,
        )
        self._watch.forget(partition)
        self._source.read_from(partition, first)
        if partition not in self._troubles:
            self._show_trouble_is_over(partition)  # as an earlier process may have left it
        self._log.info("partition_resumed", partition=partition, offset=first)

    def _forget(self, partition: int, *, why: str) -> None:
        """Drop the open shard: its messages are read again, here or by the new owner."""
        self._to_resume.pop(partition, None)
        self._questions.forget(partition)
        if partition in self._troubles:
            self._troubles.forget(partition)
            self._show_trouble_is_over(partition)
        self._tally.metrics.troubled(partition, is_in_trouble=False)
        if self._readings.pop(partition, None) is not None:
            self._log.info("partition_dropped", partition=partition, why=why)

    # Troubles: each belongs to its partition.

    def _look_after_shards(self) -> None:
        self._patrol.step()
        for partition in self._patrol.breached & set(self._readings):
            self._begin(partition)

    @contextmanager
    def _its_own(self, partition: int, *, ends: Ends = Ends.COMMIT) -> Iterator[None]:
        """What goes wrong in the block is this partition's alone, and is tried again later."""
        try:
            yield
        except FileExistsError:
            self._lose_race(partition)
        except Strayed:
            self._begin(partition)
        except (Corrupt, Unknown) as error:
            self._in_trouble(partition, error, ends=ends, needs_operator=True)
        except Damaged as error:
            self._find_damaged(partition, error)
        except Retryable as error:
            self._in_trouble(partition, error, ends=ends)
        except OSError as error:  # a full disk, say: nothing is lost, Kafka still has it
            refusal = Retryable(f"the disk refuses: {error}", hint="see `data_dir`")
            self._in_trouble(partition, refusal, ends=ends)
        except (TwintideError, Stopped, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  the others are read on, whatever it is
            self._in_trouble(partition, self._tally.failed(error), ends=ends)

    def _in_trouble(
        self,
        partition: int,
        error: TwintideError,
        *,
        ends: Ends,
        needs_operator: bool = False,
        offset: int = -1,
    ) -> None:
        """Drop what is open of it and read nothing of it until it is tried again."""
        self._to_resume.pop(partition, None)
        self._readings.pop(partition, None)
        self._source.hold(partition)
        self._troubles.add(
            partition, error, ends=ends, needs_operator=needs_operator, offset=offset
        )

    def _find_damaged(self, partition: int, error: Damaged) -> None:
        """One that stays so is for an operator: it is never skipped."""
        trouble = self._troubles.of(partition)
        lasts = trouble is not None and trouble.tries >= _LASTING_TRIES
        self._in_trouble(
            partition,
            Refused(error.message, hint=error.hint),
            ends=Ends.READ,
            needs_operator=lasts,
            offset=error.offset,
        )

    def _lose_race(self, partition: int) -> None:
        self._tally.lost_race(partition)
        self._races[partition] += 1
        if self._races[partition] > _LASTING_TRIES:
            error = Retryable(
                f"rivals were first {self._races[partition]} times in a row with the next shard of "
                f"{self._topic}, partition {partition}",
                hint="do two daemons write into one folder? let them share a kafka.group",
            )
            self._in_trouble(partition, error, ends=Ends.COMMIT)
            return
        self._log.info("partition_dropped", partition=partition, why="a rival was first")
        self._begin(partition)

    def _try_again(self) -> None:
        now = monotonic_seconds()
        for trouble in self._troubles.all():
            partition = trouble.partition
            is_idle = partition not in self._readings and partition not in self._to_resume
            if is_idle and now >= trouble.retry_at:
                self._begin(partition)

    def _went_well(self, partition: int, by: Ends, *, position: int = -1) -> None:
        if self._troubles.end(partition, by, position=position):
            self._tally.metrics.troubled(partition, is_in_trouble=False)
            self._log.info("partition_recovered", partition=partition)
            self._show_trouble_is_over(partition)

    def _tell(self, trouble: Trouble) -> None:
        self._tally.metrics.troubled(trouble.partition, is_in_trouble=True)
        self._log.warning(
            "partition_in_trouble",
            partition=trouble.partition,
            why=trouble.error.message,
            hint=trouble.error.hint,
            needs_operator=trouble.needs_operator,
        )
        now = self._clock.now()
        with suppress(OSError):  # a disk that is full: then the log and the metric say it
            self._ledger.publish_trouble(
                PartitionTrouble(
                    topic=self._topic,
                    partition=trouble.partition,
                    what=trouble.error.message,
                    hint=trouble.error.hint,
                    needs_operator=trouble.needs_operator,
                    since=now - timedelta(seconds=max(0.0, monotonic_seconds() - trouble.since)),
                    told_at=now,
                )
            )

    def _show_trouble_is_over(self, partition: int) -> None:
        with suppress(OSError):  # a disk that turned read-only: what is shown there stays
            self._ledger.end_trouble(partition)

    # Messages to shards.

    def _take(self, partition: int, blocks: Iterable[Block]) -> None:
        if partition not in self._readings:  # dropped a moment ago, and not yet resumed
            return
        with self._its_own(partition):
            try:
                for run in runs_of(blocks, max_bytes=self._config.max_bytes):
                    self._add(self._readings[partition], run)
                    self._make_room()
                    if partition not in self._readings:
                        return
            except Damaged:
                # What is sound before it is not read again at every try.
                self._commit_all(self._readings[partition])
                raise

    def _add(self, reading: Reading, run: Run) -> None:
        reading.moved_at = monotonic_seconds()
        reading.moved_when_listened = self._listened
        if run.leader_epoch is not None:
            reading.leader_epoch = run.leader_epoch
        cutter = reading.cutter
        for cut in cutter.add(run.messages, self._clock.now()):
            self._commit(cut)
        self._went_well(cutter.partition, Ends.READ, position=cutter.next)

    def _make_room(self) -> None:
        while (full := self._overfull()) is not None:
            with self._its_own(full.partition):
                if (early := full.flush()) is not None:
                    self._commit(early)

    def _overfull(self) -> PartitionCutter | None:
        cutters = [each.cutter for each in self._readings.values()]
        return overfull(cutters, self._config.max_bytes)

    def _cut_what_is_due(self) -> None:
        now = self._clock.now()
        for partition, reading in list(self._readings.items()):
            cutter = reading.cutter
            idle = self._is_idle(partition, reading)
            cut = cutter.due(now, idle=idle)
            if cut is None and idle and cutter.is_empty:
                cut = reading.empty_cut(now)
            if cut is not None:
                with self._its_own(partition):
                    self._commit(cut)

    def _is_idle(self, partition: int, reading: Reading) -> bool:
        return reading.is_quiet or self._source.is_at_end(partition, reading.cutter.next)

    def _commit(self, cut: Cut) -> None:
        """Make a shard of a cut. Raises FileExistsError where a rival was first, Strayed where what
        was read may be of another topic of that name, and Stopped: a backlog of sparse minutes is
        thousands of shards in one turn.
        """
        if self._stop.is_set():
            raise Stopped
        reading = self._readings[cut.partition]
        if self._source.confirm(cut.partition, since=self._polled_at).id != reading.topic_id:
            raise Strayed(f"topic {self._topic} was made anew while it was read")
        content = content_of(cut, self._deployment.events)
        self._watch.check(cut.partition, content.is_bad, sample=content.reason)
        footer = publish(
            self._ledger,
            cut,
            content,
            partitions=max(self._source.topic.partitions, cut.partition + 1),
            fingerprint=self._fingerprint,
            topic_id=reading.topic_id,
            leader_epoch=reading.leader_epoch,
        )
        self._races.pop(cut.partition, None)
        self._tally.committed(footer, odd=cut.odd)
        self._went_well(cut.partition, Ends.COMMIT)

    # What the brokers say.

    def _hear(self, said: Said) -> None:
        partition = said.partition
        asked = self._questions.answered(said)
        if asked is None:
            return
        if said.log is None:
            self._hear_nothing(said)
            return
        with self._its_own(partition, ends=Ends.ANSWER):
            if partition in self._to_resume:
                self._resume(partition, said.log)
            if partition in self._readings:
                self._look(partition, said.log, asked)

    def _hear_nothing(self, said: Said) -> None:
        """What is open stays open: it is read on as soon as somebody leads the partition again."""
        error = Retryable(
            f"partition {said.partition} of {self._topic} cannot be read: {said.why}",
            hint="is a broker down that holds its only copy in sync? start it again"
            if self._source.topic.partitions
            else "was the topic deleted? one that is made anew is another: it needs a data_dir of "
            "its own",
        )
        self._to_resume.pop(said.partition, None)
        self._troubles.add(said.partition, error, ends=Ends.ANSWER)

    def _look(self, partition: int, log: LogState, asked: Asked) -> None:
        """Compare a partition's position with what its leader says of the log."""
        reading = self._readings[partition]
        position = reading.cutter.next
        self._targets.note(partition, log, asked.at)
        is_cut_short = log.agrees_until is not None and 0 <= log.agrees_until < asked.position
        is_another = self._source.topic.id != reading.topic_id
        if asked.position > log.end or is_cut_short or is_another:
            self._begin(partition)
            return
        reading.lag = max(0, log.end - position)
        self._tally.metrics.lagged(
            partition, reading.lag, reading.seconds_behind(self._clock.now())
        )
        if position < log.stable:
            self._look_for_stall(partition, reading, waiting=log.stable - position)
        elif position < log.end:
            self._wait_for_transaction(partition, reading, waiting=log.end - position)
        elif reading.cutter.is_empty:
            self._publish_watermark(partition, self._lateness_before(asked.at))
        self._went_well(partition, Ends.ANSWER)

    def _look_for_stall(self, partition: int, reading: Reading, *, waiting: int) -> None:
        quiet_for = self._listened - reading.moved_when_listened
        if quiet_for > STALLED_SECONDS:
            error = Retryable(
                f"partition {partition} of {self._topic} has {waiting} messages to read at offset "
                f"{reading.cutter.next}, but none has come for {quiet_for:.0f} s",
                hint="it is asked for anew; the brokers' logs may say more",
            )
            self._in_trouble(partition, error, ends=Ends.READ, offset=reading.cutter.next)

    def _wait_for_transaction(self, partition: int, reading: Reading, *, waiting: int) -> None:
        reading.moved_when_listened = (
            self._listened
        )  # there is nothing to read as long as it is open
        now = monotonic_seconds()
        if now - reading.waiting_told_at >= STALLED_SECONDS:
            reading.waiting_told_at = now
            self._log.warning(
                "transaction_open",
                partition=partition,
                waiting=waiting,
                hint="they are read when their transaction ends; one that hangs is listed by "
                "`kafka-transactions.sh find-hanging` and ended by its `abort`",
            )

    # What is seen from outside.

    def _tell_how_it_stands(self) -> None:
        """Raises Retryable where no broker has answered of late, and Refused where nothing of what
        is ours can be read before an operator has decided something.
        """
        now = monotonic_seconds()
        self._tally.metrics.standing = self._standing()
        if self._source.topic.asked_at > self._tally.answered_at:
            self._tally.answered(lag=sum(each.lag for each in self._readings.values()))
        if now - self._source.topic.asked_at > _ALONE_SECONDS:
            raise Retryable(
                f"no broker has answered for {now - self._source.topic.asked_at:.0f} s",
                hint="are the brokers up, and is kafka.bootstrap_servers right?",
            )
        if self._troubles.are_all_for_an_operator(self._source.owned):
            raise self._troubles.all()[0].error

    def _standing(self) -> str:
        troubles = [str(each.partition) for each in self._troubles.all()]
        if troubles:
            return f"not ready: partition {', '.join(troubles)} in trouble, see the log"
        if not self._source.topic.partitions:
            return f"not ready: there is no topic {self._topic}"
        if not self._source.has_joined:
            return "not ready: waits for its group"
        if not self._source.owned:
            return "standby"
        return "ready" if self._readings else "not ready: asks where to read on"

    def _lateness_before(self, at: datetime) -> datetime:
        return at - timedelta(seconds=self._config.allowed_lateness_seconds)  # clocks differ

    def _publish_watermark(self, partition: int, complete_until: datetime) -> None:
        """Write down that nothing is left, as of the moment before the broker was asked."""
        mark = self._readings[partition].watermark(
            self._topic, complete_until, partitions=self._source.topic.partitions
        )
        if mark is not None:
            self._ledger.publish_watermark(mark)

    # A run that ends by itself.

    def is_caught_up(self) -> bool:
        """Whether all that was in the logs at the start is in shards; commits what is open.

        Raises Refused where a partition could not be read to its end; all that the others held
        is in shards.
        """
        owned = self._source.owned
        if not owned or not all(self._has_read(p) or self._is_given_up(p) for p in owned):
            return False
        for partition in sorted(owned & set(self._readings)):
            with self._its_own(partition):
                self._commit_all(self._readings[partition])
        if not all(self._has_read(p) or self._is_given_up(p) for p in owned):
            return False  # a rival was first, and has committed less
        for partition in sorted(owned & set(self._readings)):
            with self._its_own(partition):
                self._complete(partition, self._readings[partition])
        unread = [each for each in self._troubles.all() if not self._has_read(each.partition)]
        if unread:
            names = ", ".join(str(each.partition) for each in unread)
            raise Refused(
                f"partition {names} of {self._topic} could not be read to the end, all others are "
                f"in shards: {unread[0].error.message}",
                hint=unread[0].error.hint,
            )
        self._patrol.finish()
        self._tally.answered(lag=sum(self._waiting(each) for each in owned & set(self._readings)))
        return True

    def _waiting(self, partition: int) -> int:
        """Messages of the log as it was at the start that cannot be read yet."""
        return self._targets.waiting(partition, self._readings[partition].cutter.next)

    def _has_read(self, partition: int) -> bool:
        reading = self._readings.get(partition)
        return reading is not None and self._targets.is_reached(partition, reading.cutter.next)

    def _is_given_up(self, partition: int) -> bool:
        trouble = self._troubles.of(partition)
        return trouble is not None and (
            trouble.needs_operator or monotonic_seconds() - trouble.since > _UNREADABLE_SECONDS
        )

    def _commit_all(self, reading: Reading) -> None:
        for cut in (reading.cutter.flush(), reading.cutter.flush_empty(self._clock.now())):
            if cut is not None:
                self._commit(cut)

    def _complete(self, partition: int, reading: Reading) -> None:
        if (waiting := self._waiting(partition)) == 0:
            self._publish_watermark(partition, self._targets[partition].at)
        elif self._has_read(partition):
            self._wait_for_transaction(partition, reading, waiting=waiting)
