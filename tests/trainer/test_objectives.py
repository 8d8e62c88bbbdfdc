"""Several objectives: what slices hold of them, and what is learnt."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from console.verify import verify_all
from publisher.publish import publish
from publisher.reader import load_version
from tests.trainer.conftest import Line, MakeLine, at, small_stream
from trainer import labels
from trainer.epoch import Rows
from trainer.learner import Learner
from trainer.rates import nightly_rates
from trainer.rebuild import rebuild
from twintide.checkpoints import Checkpoint
from twintide.clock import HeldClock
from twintide.config import fill_in
from twintide.features.kind import Side
from twintide.model.two_tower import TwoTower, weights_in
from twintide.ragged import Encoded
from twintide.sample import judge
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


def test_a_step_is_the_sum_of_what_each_objective_counts(make_line: MakeLine) -> None:
    """Each row by the objectives of which it is a positive, each by its own vectors, weight and
    loss, over all rows of the batch. Told by a plain loop.
    """
    watched = {"loss": {"kind": "log_mse", "column": "watch_seconds"}, "weight": 0.25}
    objectives = {**SEVERAL["model"]["objectives"], "watch": watched}
    line = make_line(SEVERAL | {"model": SEVERAL["model"] | {"objectives": objectives}})
    line.night(0)
    spec = line.deployment.model
    rows = Rows.of(list(line.slices().values())[2].read(), spec, name="a slice")
    learner = Learner.untrained(spec, seed=3)
    learner.observe(rows)
    rates = nightly_rates(line.deployment, len(rows))
    learner.grow(rows, rates)
    expected = plain_loss(learner, rows)

    (loss,) = learner.learn(rows, [np.arange(len(rows))], rates, seed=1)

    assert loss == pytest.approx(expected, rel=1e-5)


def plain_loss(learner: Learner, rows: Rows) -> float:
    """Of a first batch, in which log Q is what the batch says; of one click, as of the others."""
    towers, spec = learner.model.towers, learner.model.spec
    keys, first, column = np.unique(rows.item_keys, return_index=True, return_inverse=True)
    items = rows.take(first).candidate
    counts = np.bincount(column)
    log_q = np.log(1 - (1 - counts / len(rows)) ** len(rows))
    log_q[counts == 1] = log_q[counts > 1].mean()

    def pooled(encoded: Encoded, side: Side) -> Tensor:
        return learner.model.pooled(encoded, learner.model.rows_of(encoded, side), side)

    heads = zip(
        spec.every_objective().items(),
        towers.query_vectors(pooled(rows.query, "query")),
        towers.candidate_vectors(pooled(items, "candidate")),
        towers.log_scales(),
        strict=True,
    )
    total = 0.0
    for (name, objective), queries, (candidates, bias), log_scale in heads:
        scores = (log_scale.exp() * (queries @ candidates.T) + bias).detach().cpu().double().numpy()
        labels = rows.labels[name]
        for row in range(len(rows)):
            if labels.positive is not None and not labels.positive[row]:
                continue
            own = scores[row, column[row]]
            if labels.targets is not None:
                assert labels.positive is not None
                known = np.log1p(labels.targets[labels.positive])
                number = np.log1p(labels.targets[row])
                value = (own - (number - known.mean()) / known.std()) ** 2
            else:
                corrected = scores[row] - log_q
                value = np.log(np.exp(corrected).sum()) - corrected[column[row]]
            weight = 1.0 if labels.weights is None else labels.weights[row]
            total += objective.weight * weight * value
    assert len(keys) < len(rows)
    return float(total / len(rows))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positive": {"column": "watch_seconds", "at_least": 1e6}}, "watch_seconds of at least"),
        ({"scenario": "north"}, "region = 77"),
    ],
    ids=["positives", "scenario"],
)
def test_a_sample_without_a_positive_of_an_objective_shows_it(
    line: Line, changes: dict[str, Any], said: str
) -> None:
    """By its name, and what no event has."""
    north = {"north": {"column": "region", "equals": [77]}} if "scenario" in changes else {}
    model = {"scenarios": north, "objectives": {"click": {}, "rare": changes}}
    deployment = fill_in(line.deployment, {"model": model})
    events = small_stream(deployment).slice(0, 500)

    problems = judge(deployment, events, now=at(3)).problems

    (problem,) = [each for each in problems if "objectives" in each.key]
    assert problem.key == "model.objectives.rare"
    assert said in problem.reason


@pytest.mark.long
def test_objectives_are_learnt_at_night_and_by_the_hour_rebuilt_and_served(
    make_line: MakeLine, tmp_path: Path
) -> None:
    """An hour moves rows of ids alone; each checkpoint is made again to the byte; and a version
    gives the vectors of the checkpoint for what its slices hold, to what numpy rounds otherwise.
    """
    watched = {"loss": {"kind": "log_mse", "column": "watch_seconds"}}
    objectives = {**SEVERAL["model"]["objectives"], "watch": watched}
    line = make_line(SEVERAL | {"model": SEVERAL["model"] | {"objectives": objectives}})
    night, hour = line.night(0), line.hour(1, 2)

    moved = {n for n in night.arrays if not np.array_equal(night.arrays[n], hour.arrays[n])}
    assert not [name for name in moved if name.startswith(("dense.", "scale."))]
    assert {"table.item.weights", "table.user.weights"} <= moved
    assert night.arrays["dense.log_scale"].shape == (4,)
    assert night.arrays["scale.objective.watch"][0] > 1000
    for each in (night, hour):
        again = rebuild(line.deployment, each.manifest.name, into=tmp_path / "again")
        assert again == each.manifest

    published = publish(line.deployment, clock=HeldClock(at(1, 3)))
    assert published.version is not None
    version = load_version(line.deployment.versions_dir, published.version)
    spec, device = version.manifest.model, torch.device("cpu")  # as a version is served
    trained = TwoTower.from_arrays(spec, weights_in(hour.arrays), device=device)
    rows = Rows.of(rows_of(line), spec, name="slices")
    for weights in (None, {"like": 2.0, "watch": 1.0}):
        served = version.model.query_vectors(rows.query, weights)
        expected = trained.query_vectors(rows.query, weights)
        np.testing.assert_allclose(served, expected, rtol=0, atol=1e-6)


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
