"""The two lines of training: who starts from whom, who changes what, who learns what."""

from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from publisher.publish import publish
from streaming.offline import write_shards
from tests.forged import put_shard
from tests.trainer.conftest import DAYS, Line, MakeLine, at, deployment_in, small_stream
from trainer.epoch import shuffled
from trainer.hourly import hourly
from trainer.nightly import nightly
from trainer.rewind import rewind
from twintide import config
from twintide.checkpoints import Checkpoint, list_checkpoints
from twintide.clock import HeldClock
from twintide.due import nightly_due
from twintide.errors import Refused
from twintide.keys import keys_of
from twintide.shards import Ledger, read_shard
from twintide.slices import ITEM_KEY, OFFSET, PARTITION, USER_KEY

ID_TABLES = ("user", "item")


def learnt_rows(line: Line, slices: Iterable[str]) -> Counter[tuple[int, int]]:
    """(partition, offset) of every click in these slices, with how often it occurs."""
    found: Counter[tuple[int, int]] = Counter()
    for name in slices:
        table = line.slices()[name].read()
        found.update(zip(table[PARTITION].to_pylist(), table[OFFSET].to_pylist(), strict=True))
    return found


def clicks_of_days(line: Line, days: range) -> Counter[tuple[int, int]]:
    """(partition, offset) of every click that the shards hold of these days."""
    found: Counter[tuple[int, int]] = Counter()
    for name in Ledger(line.deployment.shards_dir, line.deployment.kafka.topic).names():
        if at(days.start) <= name.hour_at < at(days.stop):
            events = read_shard(name.path)
            clicks = events.filter(events["clicked"])
            found.update(
                zip(
                    clicks["kafka_partition"].to_pylist(),
                    clicks["kafka_offset"].to_pylist(),
                    strict=True,
                )
            )
    return found


def lineage(line: Line, checkpoint: Checkpoint) -> list[Checkpoint]:
    """The checkpoint and its ancestors, oldest first."""
    chain = [checkpoint]
    while chain[0].manifest.parent:
        chain.insert(0, line.load(chain[0].manifest.parent))
    return chain


def rows_that_differ(before: Checkpoint, after: Checkpoint, table: str) -> set[int]:
    """Keys of the rows that both hold and whose weights or accumulators are not the same bits."""
    known = len(before.arrays[f"table.{table}.keys"])
    np.testing.assert_array_equal(
        before.arrays[f"table.{table}.keys"], after.arrays[f"table.{table}.keys"][:known]
    )
    differs = np.zeros(known, bool)
    for name in (f"table.{table}.weights", f"table.{table}.sums"):
        old, new = before.arrays[name], after.arrays[name][:known]
        differs |= (old.view(np.uint32) != new.view(np.uint32)).reshape(known, -1).any(axis=1)
    return set(after.arrays[f"table.{table}.keys"][:known][differs].tolist())


@pytest.mark.promise("T3")
def test_the_hourly_pass_changes_only_rows_that_it_saw(line: Line) -> None:
    """Not one bit: no dense weight, none of its moments, no side table, no row not in the slice."""
    before = line.night(0)
    after = line.hour(1, 1)
    seen: dict[str, set[int]] = {table: set() for table in ID_TABLES}
    for name in after.manifest.slices:
        rows = line.slices()[name].read()
        seen["user"] |= set(rows[USER_KEY].to_pylist())
        seen["item"] |= set(rows[ITEM_KEY].to_pylist())
        seen["item"] |= set(rows["query.history"].combine_chunks().flatten().to_pylist())

    assert after.manifest.rows > 0
    for name in before.arrays:
        is_frozen = name.startswith(("dense.", "optimizer.adam.")) or (
            name.startswith("table.")
            and not any(name.split(".")[-2] == t or name.endswith(f"rows.{t}") for t in ID_TABLES)
        )
        if is_frozen:
            assert before.arrays[name].tobytes() == after.arrays[name].tobytes(), name
    for table in ID_TABLES:
        changed = rows_that_differ(before, after, table)
        assert changed
        assert changed <= seen[table]


def test_an_hourly_pass_over_everything_changes_dense_weights_too(make_line: MakeLine) -> None:
    """The switch does what it says, so the test above can fail; it needs no nightly."""
    line = make_line({"training": {"hourly": {"learns": "everything"}}})
    first = line.hour(0, 6)
    second = line.hour(0, 7)

    assert first.manifest.parent is None
    assert (first.arrays["dense.query.0.weight"] != second.arrays["dense.query.0.weight"]).any()


@pytest.mark.long
@pytest.mark.promise("T5")
def test_the_first_hour_gives_a_model_and_the_switch_back_loses_nothing(
    make_line: MakeLine,
) -> None:
    """`learns: everything` on the first day, then `id_tables`: each click once on the hourly line,
    and the first nightly learns its day as if nothing had been.
    """
    line, usual = make_line(), make_line()
    bootstrap = Line(
        config.fill_in(line.deployment, {"training": {"hourly": {"learns": "everything"}}})
    )
    with pytest.raises(Refused, match="no nightly checkpoint") as refused:
        hourly(line.deployment, clock=HeldClock(at(0, 1)))
    assert "training.hourly.learns: everything" in refused.value.hint

    first = bootstrap.hour(0, 1)
    assert publish(line.deployment, clock=HeldClock(at(0, 1))).promoted
    bootstrap.hour(0, 2)
    switched = line.hour(0, 3)
    later = line.hour(0, 4)

    assert first.manifest.rows > 0
    dense = "dense.query.0.weight"
    assert (first.arrays[dense] != switched.arrays[dense]).any()
    assert (switched.arrays[dense] == later.arrays[dense]).all()
    learnt = Counter[tuple[int, int]]()
    for each in lineage(line, later):
        learnt += learnt_rows(line, each.manifest.slices)
    before = {place for place in clicks_of_days(line, range(1)) if place in learnt}
    assert set(learnt.values()) == {1}
    assert len(before) == len(learnt) > 150
    night, expected = line.night(0), usual.night(0)
    assert night.arrays[dense].tobytes() == expected.arrays[dense].tobytes()
    assert line.hour(1, 2).manifest.base == night.manifest.name


@pytest.mark.long
@pytest.mark.promise("T4")
def test_the_nightly_epoch_starts_from_yesterdays_nightly_and_sees_each_click_once(
    line: Line,
) -> None:
    """Also where an hourly line has gone on in the meantime: that is thrown away."""
    first = line.night(0)
    line.hour(1, 6)
    line.hour(1, 12)
    second = line.night(1)

    assert second.manifest.parent == first.manifest.name
    assert learnt_rows(line, first.manifest.slices) == clicks_of_days(line, range(1))
    assert learnt_rows(line, second.manifest.slices) == clicks_of_days(line, range(1, 2))
    assert max(learnt_rows(line, second.manifest.slices).values()) == 1


@pytest.mark.long
@pytest.mark.promise("T4")
def test_a_nightly_run_does_not_depend_on_the_hourly_line(make_line: MakeLine) -> None:
    """With and without hourly runs beside it: the same weights, to the byte."""
    alone, beside = make_line(), make_line()
    alone.night(0)
    beside.night(0)
    beside.hour(1, 5)
    beside.hour(1, 23)

    expected, found = alone.night(1), beside.night(1)

    assert expected.manifest.position == found.manifest.position
    for name, array in expected.arrays.items():
        if name.startswith(("dense.", "table.", "optimizer.")):
            assert array.tobytes() == found.arrays[name].tobytes(), name


@pytest.mark.long
@pytest.mark.promise("T4")
def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_order(
    make_line: MakeLine,
) -> None:
    """The seed is recorded in the manifest."""
    one, two = make_line(), make_line()
    other = make_line({"training": {"seed": 2}})

    assert one.night(0).manifest.files == two.night(0).manifest.files
    assert other.night(0).manifest.seed != one.load("nightly-000001").manifest.seed


def test_the_epoch_is_shuffled_and_takes_every_row_once() -> None:
    """Without windows uniformly over the day: no correlation with time. With windows: batches stay
    within one, shuffled inside, in a mixed order.
    """
    uniform = np.concatenate(shuffled(np.zeros(5_000, np.int64), batch_rows=64, seed=1))
    windows = np.repeat(np.arange(24), 200)
    batches = shuffled(windows, batch_rows=64, seed=1)
    firsts = np.array([windows[batch[0]] for batch in batches])

    assert sorted(uniform) == list(range(5_000))
    assert abs(np.corrcoef(uniform, np.arange(5_000))[0, 1]) < 0.05
    assert sorted(np.concatenate(batches)) == list(range(len(windows)))
    assert all(len(set(windows[batch])) == 1 for batch in batches)
    assert abs(np.corrcoef(firsts, np.arange(len(firsts)))[0, 1]) < 0.3
    assert list(batches[0]) != sorted(batches[0])


@pytest.mark.long
@pytest.mark.promise("T5")
def test_after_the_hand_over_no_click_is_lost_or_learnt_twice_on_either_line(line: Line) -> None:
    """The next hourly run stands on the new nightly and replays all that came after its day."""
    line.night(0)
    for hour in (3, 9, 15, 21):
        line.hour(1, hour)
    before = line.hour(2, 1)
    nightly = line.night(1)
    after = line.hour(2, 2)

    assert before.manifest.base != nightly.manifest.name
    assert after.manifest.parent == after.manifest.base == nightly.manifest.name
    for last in (before, after, nightly):
        learnt = Counter[tuple[int, int]]()
        for each in lineage(line, last):
            learnt += learnt_rows(line, each.manifest.slices)
        assert max(learnt.values()) == 1
        offsets = {p: sorted(o for q, o in learnt if q == p) for p in (0, 1)}
        expected = clicks_of_days(line, range(DAYS))
        for partition, taken in offsets.items():
            wanted = sorted(o for q, o in expected if q == partition and o <= taken[-1])
            assert taken == wanted


@pytest.mark.long
@pytest.mark.promise("T5")
def test_hourly_runs_go_on_from_the_older_nightly_until_the_new_one_is_there(line: Line) -> None:
    """A late nightly leaves nothing stale; the hand-over comes with the first run after it."""
    first = line.night(0)
    late = [line.hour(2, hour) for hour in (1, 2, 3)]

    assert {each.manifest.base for each in late} == {first.manifest.name}
    assert line.night(1).manifest.name == line.hour(2, 4).manifest.base


@pytest.mark.promise("T5")
@pytest.mark.long
def test_while_nights_are_made_up_the_hourly_line_stays_where_it_is(line: Line) -> None:
    """It hands over once, to the last of them: each night in between would be replayed anew."""
    first = line.night(0)
    line.hour(1, 3)
    during: list[Checkpoint] = []

    def on_day(day: date) -> None:
        during.append(line.hour(2, 1 + 6 * len(during)))

    nightly(line.deployment, clock=HeldClock(at(3, 0, 5)), on_day=on_day)
    after = line.hour(3, 4)

    assert {each.manifest.base for each in during} == {first.manifest.name}
    assert len(during) == 2
    assert after.manifest.parent == after.manifest.base == "nightly-000006"


@pytest.mark.long
@pytest.mark.promise("T7")
def test_missed_nights_are_made_up_in_order(make_line: MakeLine) -> None:
    """Two days in one run are the same bytes as a run each day."""
    late, punctual = make_line(), make_line()
    outcomes = nightly(late.deployment, clock=HeldClock(at(2, 0, 5)))
    punctual.night(0)
    punctual.night(1)

    assert [each.checkpoint.day for each in outcomes if each.checkpoint] == [
        at(0).date(),
        at(1).date(),
    ]
    for name in ("nightly-000001", "nightly-000002"):
        assert late.load(name).manifest.files == punctual.load(name).manifest.files


@pytest.mark.long
@pytest.mark.promise("T7")
def test_running_late_or_often_learns_the_same_clicks(make_line: MakeLine) -> None:
    """Once after five hours or every hour: every click up to the same moment, once."""
    often, late = make_line(), make_line()
    for line in (often, late):
        line.night(0)
    taken = Counter[tuple[int, int]]()
    for hour in range(1, 6):
        taken += learnt_rows(often, often.hour(1, hour).manifest.slices)

    assert learnt_rows(late, late.hour(1, 5).manifest.slices) == taken


def test_the_newest_minutes_are_left_for_the_gate(line: Line) -> None:
    """They are sliced, not learnt, and learnt by the next run."""
    line.night(0)
    first = line.hour(1, 2)
    waiting = [
        name
        for name, each in line.slices().items()
        if not each.is_covered_by(first.manifest.position)
    ]
    second = line.hour(1, 3)

    assert waiting
    assert first.manifest.newest_event_at is not None
    assert first.manifest.newest_event_at < at(1, 1, 40)
    assert set(waiting) <= set(second.manifest.slices)


@pytest.mark.long
@pytest.mark.promise("T1")
def test_runs_a_few_minutes_apart_leave_nothing_out(make_line: MakeLine) -> None:
    """At odd seconds, closer together than the holdback: each click once."""
    line = make_line()
    line.night(0)
    taken = Counter[tuple[int, int]]()
    instants = [at(1, 2, minute) + timedelta(seconds=7, milliseconds=31) for minute in range(50)]
    for instant in instants[::3]:
        outcome = hourly(line.deployment, clock=HeldClock(instant))
        if outcome.checkpoint:
            taken += learnt_rows(line, outcome.checkpoint.slices)
    last = line.hour(1, 4)
    taken += learnt_rows(line, last.manifest.slices)

    once = make_line()
    once.night(0)
    assert taken == learnt_rows(once, once.hour(1, 4).manifest.slices)
    assert all(
        each.is_covered_by(last.manifest.position) for each in list(line.slices().values())[:-2]
    )


@pytest.mark.long
@pytest.mark.promise("T1")
def test_slices_that_were_learnt_and_remade_with_other_ends_lose_and_repeat_no_click(
    make_line: MakeLine,
) -> None:
    """A run goes on in the middle of a slice, where its parent stands."""
    line, undisturbed = make_line(), make_line()
    for each in (line, undisturbed):
        each.night(0)
        each.hour(1, 2, 30)
    for one in line.slices().values():
        if one.footer.hour_at >= at(1, 2):
            one.path.unlink()

    found, expected = line.hour(1, 6), undisturbed.hour(1, 6)

    assert found.manifest.rows == expected.manifest.rows
    assert found.manifest.position == expected.manifest.position
    for name in ("state.history.items", "state.clicks.counts", "table.item.keys"):
        np.testing.assert_array_equal(found.arrays[name], expected.arrays[name])


@pytest.mark.promise("T9")
def test_a_clock_that_runs_ahead_makes_no_other_click_old(tmp_path: Path) -> None:
    """A click that says 2099 counts as of the moment when it was stored."""
    deployment = deployment_in(tmp_path)
    events = small_stream(deployment, days=2)
    write_shards(deployment, events, complete_until=at(2, 1))
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    name = next(iter(ledger.names()))
    table, footer = read_shard(name.path), name.footer()
    ahead = pa.array([at(27_000)] * len(table)).cast(table.schema.field("event_at").type)
    name.path.unlink()
    put_shard(ledger.root, footer, table.set_column(3, table.schema.field("event_at"), ahead))

    outcomes = nightly(deployment, clock=HeldClock(at(1, 1)))

    assert outcomes[0].checkpoint is not None
    assert outcomes[0].checkpoint.newest_event_at is not None
    assert outcomes[0].checkpoint.newest_event_at < at(1)


def test_the_hourly_line_refuses_to_begin_without_a_nightly(line: Line) -> None:
    """Random dense weights that never learn would make a version worse than none."""
    with pytest.raises(Refused, match="no nightly checkpoint") as refusal:
        hourly(line.deployment, clock=HeldClock(at(0, 5)))

    assert "twintide train nightly" in refusal.value.hint


def test_an_incomplete_or_empty_or_learnt_day_is_refused_by_name(line: Line) -> None:
    """Each with what to do next."""
    line.night(0)
    clock = HeldClock(at(DAYS + 5))

    with pytest.raises(Refused, match="is not complete"):
        nightly(line.deployment, clock=clock, day=at(DAYS + 1).date())
    with pytest.raises(Refused, match="is not over"):
        nightly(line.deployment, clock=clock, day=date.max)
    with pytest.raises(Refused, match="is learnt already"):
        nightly(line.deployment, clock=clock, day=at(0).date())


def test_a_day_without_clicks_is_refused_by_name(line: Line) -> None:
    """A day before the first shard, say, or before all time."""
    for day in (at(-3).date(), date.min):
        with pytest.raises(Refused, match=f"no clicks on day {day}"):
            nightly(line.deployment, clock=HeldClock(at(1, 1)), day=day)


def test_nothing_new_makes_no_checkpoint(line: Line) -> None:
    """Neither line writes one for nothing."""
    line.night(0)
    line.hour(1, 2)
    hour = hourly(line.deployment, clock=HeldClock(at(1, 2)))
    nights = nightly(line.deployment, clock=HeldClock(at(1, 2)))

    assert hour.checkpoint is None
    assert [each.checkpoint for each in nights] == [None]
    assert len(list_checkpoints(line.deployment.checkpoints_dir)) == 2


@pytest.mark.long
def test_rewind_makes_both_lines_go_on_from_an_older_checkpoint(line: Line) -> None:
    """An hourly one brings its nightly along; weights are the old ones to the byte."""
    line.night(0)
    wanted = line.hour(1, 3)
    line.hour(1, 4)
    line.night(1)
    line.hour(2, 1)

    rewound = line.load(rewind(line.deployment, wanted.manifest.name).name)
    following = line.hour(2, 2)

    assert rewound.arrays.keys() == wanted.arrays.keys()
    assert all(
        rewound.arrays[name].tobytes() == wanted.arrays[name].tobytes() for name in wanted.arrays
    )
    assert following.manifest.parent == rewound.manifest.name
    assert learnt_rows(line, following.manifest.slices) == (
        learnt_rows(line, line.load("hourly-000003").manifest.slices)
        + clicks_between(line, line.load("hourly-000003"), following)
    )


def test_rewind_to_what_no_run_would_go_on_from_is_refused(make_line: MakeLine) -> None:
    """An hourly without a nightly, once there is one; before that it takes effect."""
    line = make_line({"training": {"hourly": {"learns": "everything"}}})
    line.hour(0, 3)
    line.hour(0, 6)
    rewound = rewind(line.deployment, "hourly-000001")
    assert line.hour(0, 7).manifest.parent == rewound.name

    line.night(0)
    with pytest.raises(Refused, match="hourly-000001 stands on no nightly") as refused:
        rewind(line.deployment, "hourly-000001")
    assert "twintide rewind --to nightly-000005" in refused.value.hint
    assert rewind(line.deployment, "nightly-000005").name == "nightly-000006"
    assert line.hour(1, 2).manifest.base == "nightly-000006"


def clicks_between(line: Line, after: Checkpoint, until: Checkpoint) -> Counter[tuple[int, int]]:
    """Clicks of the shards behind one position and before the other."""
    return Counter(
        {
            (partition, offset): 1
            for partition, offset in clicks_of_days(line, range(DAYS))
            if after.manifest.position[partition] <= offset < until.manifest.position[partition]
        }
    )


def test_a_table_that_several_features_share_is_published_like_any_other(
    make_line: MakeLine,
) -> None:
    """Lists, a context and users looked up in the item table: it then knows more ids than items."""
    query = [
        {"kind": "sparse", "name": "user", "column": "user_id", "table": "item"},
        {"kind": "history", "name": "history", "table": "item"},
        {"kind": "hour_of_day", "name": "hour", "table": "item"},
        {"kind": "sparse", "name": "region", "column": "region", "table": "item"},
    ]
    candidate = [
        {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"},
        {"kind": "varlen", "name": "topics", "column": "topics", "table": "item"},
    ]
    line = make_line({"model": {"query": query, "candidate": candidate}})
    night = line.night(0)
    line.hour(1, 2)

    published = publish(line.deployment, clock=HeldClock(at(1, 2)))

    assert len(night.arrays["table.item.keys"]) > len(night.catalogue) + 1
    assert (published.promoted, published.gate.reasons) == (True, ())


@pytest.mark.promise("T6")
def test_a_loss_that_is_not_finite_stops_before_it_changes_anything(make_line: MakeLine) -> None:
    """The batch is named, and there is no checkpoint."""
    usual = make_line().deployment
    wild = usual.training.nightly.model_copy(update={"row_learning_rate": 1e38})
    training = usual.training.model_copy(update={"nightly": wild})  # which no file may say
    deployment = usual.model_copy(update={"training": training})

    with pytest.raises(Refused, match=r"day 2026-03-01, clicks|not finite"):
        nightly(deployment, clock=HeldClock(at(1, 0, 5)))
    assert list_checkpoints(deployment.checkpoints_dir) == []


def test_a_catalogue_names_every_item_that_was_learnt(line: Line) -> None:
    """Ids, in the order of their first click, beside the features that they are encoded by."""
    checkpoint = line.night(0)
    learnt = pa.concat_tables(line.slices()[name].read() for name in checkpoint.manifest.slices)

    assert set(checkpoint.catalogue["item_id"].to_pylist()) == set(learnt["item_id"].to_pylist())
    known = set(checkpoint.arrays["table.item.keys"].tolist())
    assert set(keys_of(checkpoint.catalogue["item_id"]).tolist()) <= known


@pytest.mark.long
def test_a_nightly_run_beside_an_hourly_one_finds_its_day_due(line: Line) -> None:
    """The hourly pass has sliced the rest of the day already, and is half-way through it: what a
    night has to learn is a matter of checkpoints, not of who made the slices.
    """
    line.night(0)
    nights: list[str | None] = []

    def meanwhile(*_: object) -> None:
        if not nights:
            assert nightly_due(line.deployment, clock=HeldClock(at(2, 0, 5))).day is not None
            made = nightly(line.deployment, clock=HeldClock(at(2, 0, 5)))
            nights.extend(each.why for each in made)

    hourly(line.deployment, clock=HeldClock(at(2, 0, 30)), on_step=meanwhile)

    assert [why.startswith("learnt ") for why in nights if why] == [True]
    assert nightly_due(line.deployment, clock=HeldClock(at(2, 0, 5))).day is None


def test_an_hourly_pass_holds_back_what_auto_says(make_line: MakeLine) -> None:
    """Without a version a whole shard, which is 20 minutes here: as if that were declared."""
    auto, declared = (
        make_line({"training": {"hourly": {"holdback_minutes": each}}}) for each in ("auto", 20)
    )
    for line in (auto, declared):
        line.night(0)

    found, expected = (line.hour(1, 6).manifest for line in (auto, declared))

    assert found.position == expected.position
    assert found.files == expected.files
