"""Each loss on a whole line: through nightly and hourly runs to a version, and what it is worth."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clickworld import WorldConfig, simulate
from evaluation import policies
from evaluation.lanes import Scoring
from evaluation.progressive import progressive
from evaluation.span import Span
from publisher.publish import publish
from publisher.reader import load_version
from streaming.offline import write_shards
from tests.trainer.conftest import ROOT, Line, MakeLine, at
from trainer.learner import Learner
from twintide import config
from twintide.clock import HeldClock
from twintide.config import Deployment

LOSSES: dict[str, dict[str, Any]] = {
    "softmax, drawn": {"loss": {"kind": "softmax", "negatives": 20}},
    "bce": {"loss": {"kind": "bce"}},
    "bce with an intercept": {
        "loss": {"kind": "bce"},
        "popularity_bias": False,
        "popularity_layer": 0,
    },
    "hinge": {"loss": {"kind": "hinge"}},
    "logistic": {"loss": {"kind": "logistic", "negatives": 8}},
    "bpr": {"loss": {"kind": "bpr"}},
}


LineOf = Callable[[dict[str, Any]], Line]


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices do not depend on the loss, so all lines may share them."""
    return tmp_path_factory.mktemp("slices")


@pytest.fixture
def line_of(make_line: MakeLine, shards: Path, slices: Path) -> LineOf:
    """A line with these keys of a model."""
    folders = {"shards": str(shards), "slices": str(slices)}
    return lambda said: make_line({"model": said, "folders": folders})


@pytest.mark.parametrize("said", LOSSES.values(), ids=LOSSES)
def test_a_line_of_each_loss_learns_a_night_and_hours_to_a_version(
    line_of: LineOf, said: dict[str, Any]
) -> None:
    """The hourly pass moves rows and no dense weight, and a version comes out."""
    line = line_of(said)
    night, hour = line.night(0), line.hour(1, 2)
    publish(line.deployment, clock=HeldClock(at(1, 2)), judge=False)
    version = load_version(line.deployment.versions_dir, "v000001")

    assert night.manifest.loss
    before, after = (each.arrays["table.item.weights"] for each in (night, hour))
    assert (before != after[: len(before)]).any()
    for name in night.arrays:
        if name.startswith("dense."):
            assert night.arrays[name].tobytes() == hour.arrays[name].tobytes(), name
    assert len(version.item_keys) > 0


@pytest.mark.long
def test_a_night_that_draws_negatives_gives_the_same_bytes_again(line_of: LineOf) -> None:
    """What is drawn is a function of the batches, so a checkpoint can be made anew."""
    one, again = (line_of(LOSSES["bce"]).night(0) for _ in range(2))

    assert one.manifest.files == again.manifest.files


def test_only_cross_entropy_without_a_bias_learns_an_intercept(line_of: LineOf) -> None:
    """Scores that are judged one by one need a zero point; a popularity bias has one."""
    for name, said in LOSSES.items():
        learner = Learner.untrained(line_of(said).deployment.model, seed=1)
        assert ("dense.intercept" in learner.arrays()) == (name == "bce with an intercept")


START_AT = datetime(2026, 1, 5, 4, tzinfo=UTC)
HOURS = 34
WORLD = WorldConfig(users=2_000, impressions_per_hour=3_000, items_per_hour=20, evergreen_items=600)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Thirty-four hours of a small click world, in shards."""
    quickstart = config.load(ROOT / "configs" / "quickstart.yaml")
    deployment = config.fill_in(
        quickstart,
        {
            "data_dir": str(tmp_path_factory.mktemp("world")),
            "shards": {"minutes": 60},
            "training": {
                "hourly": {"batch_rows": 256, "holdback_minutes": 0},
                "nightly": {"batch_rows": 256},
            },
            "model": {"embedding_width": 32, "output_width": 32},
        },
    )
    write_shards(deployment, simulate(WORLD, START_AT, HOURS))
    return deployment


@pytest.mark.long
@pytest.mark.parametrize("said", LOSSES.values(), ids=LOSSES)
def test_every_loss_finds_more_than_lists_of_the_popular(
    world: Deployment, tmp_path: Path, said: dict[str, Any]
) -> None:
    """Recall@50 of the last ten hours, nightly and hourly passes, beside lists of those hours."""
    own = config.fill_in(world, {"model": said})
    names = ("nightly+hourly", "popular-all-time", "popular-24h")
    span = Span(
        START_AT,
        START_AT + timedelta(hours=HOURS),
        START_AT + timedelta(hours=24),
        START_AT + timedelta(hours=HOURS),
    )
    named = [policies.parse_policy(name) for name in names]
    found = progressive(own, named, Scoring(span), folder=tmp_path)
    recall = {each.policy.name: each.board.overall.recall()["recall@50"] or 0.0 for each in found}

    ours = recall.pop("nightly+hourly")
    assert ours > 1.05 * max(recall.values()), recall
