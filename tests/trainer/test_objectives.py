"""Several objectives: what slices hold of them, and what is learnt."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from console.verify import verify_all
from tests.trainer.conftest import Line, MakeLine, at, small_stream
from trainer import labels
from twintide.checkpoints import Checkpoint
from twintide.slices import FOOTER_KEY, IS_CLICK, ITEM_ID, chain_dir

SEVERAL: dict[str, Any] = {
    "model": {
        "scenarios": {"north": {"column": "region", "equals": [0, 1]}},
        "objectives": {
            "click": {},
            "like": {"positive": {"column": "liked"}, "weight": 0.5},
            "long": {
                "positive": {"column": "watch_seconds", "at_least": 0.7},
                "scenario": "north",
                "reward": {"column": "watch_seconds", "divided_by": 0.5},
            },
        },
    }
}


def rows_of(line: Line) -> pa.Table:
    return pa.concat_tables(each.read() for each in line.slices().values())


def test_a_slice_has_a_row_for_each_positive_and_says_of_what(make_line: MakeLine) -> None:
    """Clicks, likes of what was not clicked, long views in one scenario alone; and what each
    counts. Told by a loop over the events.
    """
    line = make_line(SEVERAL)
    line.night(0)
    rows = rows_of(line)
    found = labels.from_columns(rows, line.deployment.model)
    said = zip(
        rows[ITEM_ID].to_pylist(),
        rows["event_at"].to_pylist(),
        rows[IS_CLICK].to_pylist(),
        *(found[name].positive for name in ("click", "like", "long")),
        strict=True,
    )

    expected: Counter[Any] = Counter()
    for event in small_stream(line.deployment, days=3).to_pylist():
        long = event["watch_seconds"] >= 0.7 and event["region"] in {0, 1}
        if event["event_at"] < at(1) and (event["clicked"] or event["liked"] or long):
            what = (event["clicked"], event["clicked"], event["liked"], long)
            expected[(event["item_id"], event["event_at"], *what)] += 1

    assert Counter(said) == expected
    weights = found["long"].weights
    assert weights is not None
    assert (weights[found["long"].positive] >= 0.7 / 0.5).all()
    assert sum(each.footer.rows for each in line.slices().values()) == len(rows)


def test_only_clicks_make_histories_and_counts(make_line: MakeLine) -> None:
    """Where other rows stand between them, clicks are told what they were told without; and the
    catalogue has what was liked and never clicked as well.
    """
    several, plain = make_line(SEVERAL), make_line()
    with_others, without = several.night(0), plain.night(0)

    for name in ("users", "offsets", "items", "at_ms"):
        key = f"state.history.{name}"
        np.testing.assert_array_equal(with_others.arrays[key], without.arrays[key])
    rows, clicks = rows_of(several), rows_of(plain)
    told = rows.filter(rows[IS_CLICK])
    for name in ("user", "item", "query.history", "query.hour", "candidate.topics"):
        assert told[name].combine_chunks() == clicks[name].combine_chunks(), name
    assert counts_of(with_others) == counts_of(without)
    assert set(with_others.catalogue[ITEM_ID].to_pylist()) == set(rows[ITEM_ID].to_pylist())
    assert len(with_others.catalogue) > len(without.catalogue)


def counts_of(made: Checkpoint) -> Counter[int]:
    """Item -> its clicks that the state still counts."""
    items = made.catalogue[ITEM_ID].to_numpy()[made.arrays["state.clicks.items"]]
    counts = made.arrays["state.clicks.counts"].astype(np.int64)
    return Counter(np.repeat(items, counts).tolist())


@pytest.mark.long
def test_slices_of_an_older_format_are_made_anew(make_line: MakeLine) -> None:
    """They lie in the folder of another fingerprint: the line goes on as if they were not there,
    and nobody takes them for damaged ones.
    """
    line, undisturbed = make_line(), make_line()
    for one in (line, undisturbed):
        one.night(0)
    own = line.deployment
    root = chain_dir(own.slices_dir, own.events, own.model)
    for each in line.slices().values():
        rows = pq.read_table(each.path)
        said = json.loads(rows.schema.metadata[FOOTER_KEY])
        footer = json.dumps(said | {"format": 2, "fingerprint": "0123456789abcdef"}).encode()
        older = rows.drop_columns([IS_CLICK]).replace_schema_metadata({FOOTER_KEY: footer})
        pq.write_table(older, each.path)
    root.rename(root.with_name("0123456789abcdef"))

    hour, expected = line.hour(1, 2), undisturbed.hour(1, 2)

    assert hour.manifest.files == expected.manifest.files
    slices = rows_of(line)
    assert slices.equals(rows_of(undisturbed))
    found = verify_all(own, on_stage=lambda _: None)
    assert found.breaches == []
    assert found.looked_at["slices"] == len(line.slices())
