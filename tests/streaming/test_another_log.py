import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from kafka import TopicPartition

from streaming.client import admin, create_topic
from streaming.daemon import run
from tests.streaming.line import MINUTE_MS, NOON_MS, Line, wait_until
from twintide.clock import HeldClock, SystemClock, from_unix_ms
from twintide.errors import Refused

NewLine = Callable[..., Line]
NOON = from_unix_ms(NOON_MS)


def delete_before(line: Line, offset: int) -> None:
    kafka = line.deployment.kafka
    with admin(kafka) as client:
        client.delete_records({TopicPartition(kafka.topic, 0): offset})


def make_anew(line: Line) -> None:
    kafka = line.deployment.kafka
    with admin(kafka) as client:
        client.delete_topics([kafka.topic])

    def is_made() -> bool:
        try:
            create_topic(kafka.bootstrap_servers[0], kafka.topic, partitions=line.partitions)
        except Exception:  # noqa: BLE001  the old one is not gone yet
            return False
        return True

    wait_until(is_made)


@pytest.mark.promise("S6")
def test_what_retention_deleted_of_a_partition_that_was_only_watched_is_a_gap(
    line: NewLine,
) -> None:
    """Nothing was in it yet, and ingest stood at its end: what came since was ours to read."""
    made = line()
    made.catch_up()
    made.feed(range(30))
    delete_before(made, 20)

    with pytest.raises(Refused, match="offsets 0 to 19"):
        made.catch_up()
    made.with_shards(accept_gap=True).catch_up()

    (only,) = made.footers()
    assert (only.first, only.next, only.gap_before) == (20, 30, 20)
    assert made.ledger.check() == []


@pytest.mark.promise("S6")
def test_a_topic_that_was_made_anew_is_refused_though_its_log_is_longer(line: NewLine) -> None:
    """Its first messages have the offsets of others that are in shards: none would be missed."""
    made = line()
    made.feed(range(10))
    made.catch_up()
    make_anew(made)
    made.feed(range(30), start_ms=NOON_MS + MINUTE_MS)

    for _ in range(2):
        with pytest.raises(Refused, match="was made anew"):
            made.catch_up()
    assert len(made.stored()) == 10
    fresh = Line({**made.values, "data_dir": made.values["data_dir"] + "-anew"}, 1)
    fresh.catch_up()
    assert len(fresh.stored()) == 30


@pytest.mark.promise("S6")
def test_a_topic_that_is_made_anew_while_it_is_read_stops_the_daemon(line: NewLine) -> None:
    """Nothing of the new one is taken for the old one's."""
    made = line()
    made.feed(range(10))
    clock = HeldClock(NOON + timedelta(hours=1))

    def change() -> None:
        wait_until(lambda: made.stored() == made.fed)
        make_anew(made)
        made.feed(range(100, 130), start_ms=NOON_MS + MINUTE_MS)

    thread = threading.Thread(target=change)
    thread.start()
    with pytest.raises(Refused, match="was made anew"):
        run(made.deployment, clock=clock, stop=threading.Event())
    thread.join()

    assert sorted(number for _, number in made.stored()) == list(range(10))


def test_a_shard_says_of_which_topic_and_leader_it_is(line: NewLine) -> None:
    """What tells a log from another one under the same name."""
    made, other = line(), line()
    for each in (made, other):
        each.feed(range(3))
        run(each.deployment, clock=SystemClock(), until_caught_up=True)
    ids = {footer.topic_id for each in (made, other) for footer in each.footers()}

    assert len(ids) == 2
    assert None not in ids
    assert {footer.leader_epoch for footer in made.footers()} == {0}
    assert {mark.topic_id for mark in made.ledger.watermarks().values()} < ids
