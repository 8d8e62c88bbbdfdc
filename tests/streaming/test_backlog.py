"""Much to read at once: no partition is taken for stalled, cut short or missing while it waits."""

from collections.abc import Callable
from typing import Any

import pytest

from streaming import questions, reader
from streaming.ask import LogState, Said
from streaming.questions import Asked
from streaming.reader import Reader
from streaming.source import Source
from streaming.tally import Tally
from tests.streaming.line import MINUTE_MS, NOON_MS, Line, wait_until
from twintide.clock import HeldClock, from_unix_ms

NewLine = Callable[..., Line]
Logged = Callable[[str], list[dict[str, Any]]]
LATER = from_unix_ms(NOON_MS + 600 * MINUTE_MS)


@pytest.mark.long
@pytest.mark.promise("S1")
def test_a_partition_that_waits_for_its_turn_is_not_in_trouble(
    line: NewLine, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polls give one partition's messages after the other's, and each sparse minute is a shard: the
    last one waits for seconds here, for minutes on a slow disk. A run that shall end reads it all.
    """
    monkeypatch.setattr(reader, "STALLED_SECONDS", 0.5)
    monkeypatch.setattr(questions, "_LOOK_SECONDS", 0.1)
    made = line(partitions=3)
    made.feed(range(360), step_ms=MINUTE_MS // 3, batch_bytes=1)

    made.catch_up(HeldClock(LATER))

    assert made.holds_every_event_once()
    assert logged("partition_in_trouble") == []
    assert len(logged("partition_resumed")) == 3


def said_of(log: LogState, clock: HeldClock) -> Said:
    return Said(0, clock.now(), log)


@pytest.mark.promise("S1")
def test_an_answer_says_nothing_of_what_was_read_since_it_was_asked_for(line: NewLine) -> None:
    """It was asked at offset 4 of an older leader's epoch, which ended at 4; the log had 6 messages
    then, and 10 are read by now. Nothing is dropped for it, and nothing read again.
    """
    made = line()
    made.feed(range(10))
    clock = HeldClock(LATER)
    tally = Tally(made.deployment.kafka.topic, lambda _: None)
    with Source(made.deployment.kafka, takes_all=True) as source:
        read = Reader(made.deployment, source, clock=clock, tally=tally)

        def has_read_all() -> bool:
            read.turn()
            return 0 in read._readings and read._readings[0].cutter.next == 10

        wait_until(has_read_all)
        reading = read._readings[0]
        read._questions._asked[0] = Asked(clock.now(), position=4)

        read._hear(said_of(LogState(0, 6, 6, agrees_until=4), clock))

        assert read._readings[0] is reading
