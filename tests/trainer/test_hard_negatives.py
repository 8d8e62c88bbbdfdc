"""Hard negatives: from the columns that list them, through slices and batches, to the loss."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from streaming.offline import write_shards
from tests.trainer.conftest import Line, at, deployment_in, small_stream
from trainer import rebuild
from trainer.epoch import Rows, in_order
from trainer.learner import Learner
from trainer.negatives.stock import Stock
from trainer.run import begin
from twintide.checkpoints import list_checkpoints
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.derived.clicks import ItemClicks
from twintide.derived.state import DerivedState
from twintide.keys import keys_of
from twintide.negatives import Hard
from twintide.slices import HARD, ITEM_KEY, UNIT, Contents, fingerprint_of

UNKNOWN_ITEM = 900_000


def declared_in(
    folder: Path, *sources: dict[str, Any], loss: str = "softmax", **keys: Any
) -> Deployment:
    """Two columns list hard negatives, of which a click has three at most."""
    hard = {"kind": "hard", "from_columns": ["ranked_low", "pre_dropped"], "at_most": 3}
    columns = {"ranked_low": "list<int64>", "pre_dropped": "list<int64>"}
    changes = {
        "events": {"columns": columns},
        "model": {"negatives": [*sources, hard | keys], "loss": {"kind": loss}},
    }
    return deployment_in(folder, changes)


def hard_line(deployment: Deployment) -> Line:
    """A day whose events list some items of the day, their own and one that nobody clicks."""
    rng = np.random.default_rng(2)
    plain = small_stream(deployment_in(deployment.data_dir / "plain"), days=1)
    items = plain["item_id"].to_numpy()
    low = [
        [int(item), int(other)] for item, other in zip(items, rng.permutation(items), strict=True)
    ]
    pre = [
        None if number % 3 == 0 else [low[number][1], UNKNOWN_ITEM, int(other)]
        for number, other in enumerate(rng.permutation(items))
    ]
    events = plain.append_column("ranked_low", pa.array(low)).append_column(
        "pre_dropped", pa.array(pre, pa.list_(pa.int64()))
    )
    write_shards(deployment, events, partitions=2, complete_until=at(1, 1))
    return Line(deployment)


IN_BATCH = {"kind": "in_batch"}


def test_lists_are_joined_without_doubles_and_without_the_own_item() -> None:
    """Column after column, the first ones; null lists and null ids are none."""
    hard = Hard(kind="hard", from_columns=("a", "b"), at_most=3)
    lists = pa.list_(pa.string())
    events = pa.table(
        {
            "a": pa.array([["x", "own", "y", "x"], None, [], ["p", None, "q", "r", "s"]], lists),
            "b": pa.array([["y", "z", "w"], ["own"], ["x", "x"], ["t"]], lists),
        }
    )

    found = hard.of(events, keys_of(pa.array(["own", "own", "y", "y"])))

    expected = [["x", "y", "z"], [], ["x"], ["p", "q", "r"]]
    assert np.diff(found.offsets).tolist() == [len(each) for each in expected]
    assert found.keys.tolist() == keys_of(pa.array(list(chain(*expected)))).tolist()


@pytest.mark.long
@pytest.mark.parametrize(
    "sources",
    [[IN_BATCH], [{"kind": "uniform", "count": 12}]],
)
def test_a_click_has_its_own_hard_negatives_and_nobody_elses(
    tmp_path: Path, sources: list[dict[str, Any]]
) -> None:
    """Those of its event that the catalogue knew by then, each a column; in a plain loop over the
    slices. Their columns are open only where another source brought them too.
    """
    line = hard_line(declared_in(tmp_path, *sources))
    line.night(0)
    table = pa.concat_tables(each.read() for each in line.slices().values())
    state, spec = DerivedState.empty(line.deployment), line.deployment.model
    state.fold(Contents(table))
    stock = Stock.of(ItemClicks(), state, table)
    rows = Rows.of(table, spec, name="day")
    order = list(in_order(len(rows), batch_rows=64))
    union = Learner.untrained(spec, seed=1).union_for(rows, order, stock, seed=1)
    first_seen: dict[int, int] = {}
    units = table[UNIT].cast(pa.int64()).to_pylist()
    for item, unit in zip(table[ITEM_KEY].to_pylist(), units, strict=True):
        first_seen[item] = min(first_seen.get(item, unit), unit)
    left_out = 0
    for row, listed in enumerate(table[HARD].to_pylist()):
        left_out += sum(first_seen.get(item, np.inf) > units[row] for item in listed)
    assert union is not None
    assert union.hard is not None
    assert union.hard.left_out == left_out > 0

    for step in (0, len(order) // 2):
        batch = union.batch(rows, step, order[step])
        assert batch.added is not None
        assert batch.added.hard is not None
        assert len(set(batch.item_keys.tolist())) == len(batch.item_keys)
        for place, number in enumerate(order[step].tolist()):
            listed = table[HARD][number].as_py()
            right = [each for each in listed if first_seen.get(each, np.inf) <= units[number]]
            columns = batch.added.hard.between(place, place + 1)[1]
            assert batch.item_keys[columns].tolist() == right
            assert rows.item_keys[number] not in right
        brought = set(batch.item_keys[batch.added.first :].tolist())
        moment = stock.moment(rows, order[step], step)
        drawn = set(stock.catalogue.keys[union._drawn(rows, order[step], moment)].tolist())
        is_open = np.ones(len(batch.item_keys), bool)
        is_open = is_open if batch.added.open is None else batch.added.open
        opened = set(batch.item_keys[is_open].tolist())
        own = set(batch.item_keys[: batch.added.first].tolist())
        assert opened == (drawn | own if sources == [IN_BATCH] else drawn)
        assert step == 0 or brought - drawn
        assert (
            union.brought(rows, step, order[step]).tolist()
            == batch.item_keys[batch.added.first :].tolist()
        )


@pytest.mark.long
@pytest.mark.parametrize("loss", ["softmax", "bce", "hinge", "bpr"])
def test_hard_negatives_sink_below_the_clicked_item(tmp_path: Path, loss: str) -> None:
    """After a night, a click's item is ahead of the items that its event lists more often than
    without them, whatever the loss; and the night is made again to the byte.
    """
    won = []
    for share in (0.9, 0.001):
        deployment = declared_in(tmp_path / str(share), IN_BATCH, loss=loss, share=share)
        line = hard_line(deployment)
        night = line.night(0)
        again = rebuild.rebuild(line.deployment, night.manifest.name, into=tmp_path / f"r{share}")
        assert again == night.manifest
        won.append(_won(line))
    assert won[0] > won[1] + 0.02


def _won(line: Line) -> float:
    """How often a click's item scores above its hard negatives, on the slices of the night."""
    parent = list_checkpoints(line.deployment.checkpoints_dir)[-1]
    begun = begin(line.deployment, parent, {}, None, HeldClock(at(1, 1)))
    table = pa.concat_tables(each.read() for each in line.slices().values())
    rows = Rows.of(table, line.deployment.model, name="day")
    stock = Stock.of(begun.state.item_clicks, begun.state, table.slice(0, 0))
    numbers = np.arange(len(rows))
    union = begun.learner.union_for(rows, [numbers], stock, seed=1)
    assert union is not None
    assert union.hard is not None
    query = begun.learner.model.query_vectors(rows.query)
    own = (query * begun.learner.model.candidate_vectors(rows.candidate)).sum(axis=1)
    items = union.hard.items
    candidates = stock.features(items.keys.astype(np.int64), stock.moment(rows, numbers, 0))
    hard = (query[items.row_of_key()] * begun.learner.model.candidate_vectors(candidates)).sum(
        axis=1
    )
    return float((own[items.row_of_key()] > hard).mean())


def test_other_lists_are_other_slices_and_another_share_is_not(tmp_path: Path) -> None:
    """Slices hold the lists, and nothing of what they count."""
    names = {
        key: fingerprint_of(deployment.events, deployment.model)
        for key, deployment in {
            "plain": declared_in(tmp_path, IN_BATCH),
            "share": declared_in(tmp_path, IN_BATCH, share=0.2),
            "shorter": declared_in(tmp_path, IN_BATCH, at_most=2),
        }.items()
    }
    assert names["plain"] == names["share"] != names["shorter"]
