"""Models that are declared in YAML, each learnt night by night and scored on the days that follow.

A night is one shuffled epoch over its day, on the weights of the night before; a day that is scored
is met by the night before it, which goes on by the hour, rows of ID tables only, and is thrown away
when the next night is there: as `twintide train` does it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.models.stage import Day, Hour
from evaluation.metrics import DEPTH, Tally, positions_of
from trainer.learner import Learner
from trainer.passes import rows_in_order, rows_shuffled
from trainer.positives import sampled
from twintide.config import Deployment, fill_in
from twintide.keys import Keys


@dataclass(frozen=True)
class Contestant:
    """A declaration: what it says beside `configs/kuairand.yaml`."""

    group: str
    name: str
    says: dict[str, Any]
    """Keys of `model`."""

    trains: dict[str, Any] = field(default_factory=dict)
    """Keys of `training`."""

    by_the_hour: bool = True
    """Whether hourly passes go on from the night; otherwise a night is served for a day."""


def _loss(kind: str, **keys: Any) -> dict[str, Any]:
    return {"loss": {"kind": kind, **keys}}


def _sources(*sources: dict[str, Any]) -> dict[str, Any]:
    return {"negatives": list(sources)}


_IN_BATCH = {"kind": "in_batch"}
_LAYERS = [128, 64]


def _towers(**keys: Any) -> dict[str, Any]:
    """A tower for both sides, with the residuals that are declared."""
    layers = {"bottom": [128], "task": [64]}
    tower = keys | (layers if keys["kind"] == "shared_bottom" else {"hidden": _LAYERS})
    residuals = {"query": "history", "candidate": "item"}
    return {
        f"{side}_tower": {**tower, "residual": residual} for side, residual in residuals.items()
    }


def _augmented(column: str) -> dict[str, Any]:
    return {"kind": "sparse", "name": "augmented", "column": column, "table": f"{column}_augmented"}


def _objectives(**keys: Any) -> dict[str, Any]:
    long_view = {"positive": {"column": "long_view", "equals": 1}, "weight": 0.5}
    return {"objectives": {"click": {}, "long_view": long_view | {"request_weight": 0.5} | keys}}


_USER = {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"}
_ITEM = {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"}
_HISTORY = {"kind": "history", "name": "history", "table": "item", "length": 20}
_ATTENTION = _HISTORY | {"kind": "attention_history"}
_DECAYED = {
    "kind": "decayed_history",
    "name": "decayed",
    "table": "item",
    "length": 50,
    "half_life_items": 10,
}
_MOMENT = (
    {"kind": "sparse", "name": "tab", "column": "tab", "table": "tab"},
    {"kind": "hour_of_day", "name": "hour", "table": "hour", "time_zone": "Asia/Shanghai"},
)
_STATISTICS = {"kind": "item_statistics", "name": "statistics"}


_PLAIN = {"query_tower": None, "candidate_tower": None}


def _positives(**keys: Any) -> dict[str, Any]:
    return {"positives": keys}


def _query(*features: dict[str, Any]) -> dict[str, Any]:
    return {"query": [_USER, *features, *_MOMENT]}


CONTESTANTS = (
    Contestant("as declared", "softmax, dnn, in-batch, logQ", {}),
    Contestant("as declared", "nights only", {}, by_the_hour=False),
    Contestant(
        "as declared",
        "as it was before: 32 wide, slow rows, one history, no residual",
        _query(_HISTORY) | _PLAIN | {"embedding_width": 32, "output_width": 32, "temperature": 0.2},
        trains={line: {"row_learning_rate": 0.01} for line in ("nightly", "hourly")},
    ),
    Contestant("list-wise", "softmax, 50 of the batch", _loss("softmax", negatives=50)),
    Contestant("point-wise", "bce, 1:3", _loss("bce")),
    Contestant("pair-wise", "hinge", _loss("hinge")),
    Contestant("pair-wise", "logistic", _loss("logistic")),
    Contestant("pair-wise", "bpr", _loss("bpr")),
    Contestant("negatives", "in-batch without logQ", {"logq": False}),
    Contestant("negatives", "256 uniform", _sources({"kind": "uniform", "count": 256})),
    Contestant(
        "negatives",
        "in-batch, 256 uniform",
        _sources(_IN_BATCH, {"kind": "uniform", "count": 256}),
    ),
    Contestant(
        "negatives",
        "in-batch, 256 of the last 4,096 clicks",
        _sources(_IN_BATCH, {"kind": "pool", "count": 256, "clicks": 4096}),
    ),
    Contestant("towers", "dnn without residuals", _PLAIN),
    Contestant("towers", "dcn", _towers(kind="dcn")),
    Contestant("towers", "senet", _towers(kind="dnn", feature_weights={"kind": "senet"})),
    Contestant(
        "towers",
        "dat",
        _query(_augmented("user_id"), _HISTORY, _DECAYED)
        | {"candidate": [_ITEM, _augmented("item_id"), _STATISTICS]}
        | _towers(kind="dat"),
    ),
    Contestant("objectives", "clicks and long views, dnn", _objectives()),
    Contestant(
        "objectives",
        "clicks and long views of the feed, shared-bottom",
        _objectives(scenario="feed")
        | {"scenarios": {"feed": {"column": "tab", "equals": 1}}}
        | _towers(kind="shared_bottom"),
    ),
    Contestant("features", "one history", _query(_HISTORY)),
    Contestant("features", "attention over the history", _query(_ATTENTION, _DECAYED)),
    Contestant("features", "no item statistics", {"candidate": [_ITEM]}),
    Contestant("positives", "of popular items fewer", _positives(keep_popular={})),
    Contestant("positives", "of cold items twice", _positives(repeat_cold={"times": 2})),
)


def declared(base: Deployment, contestant: Contestant, *, seed: int) -> Deployment:
    """The deployment of a contestant; raises Refused as `config check` does."""
    training = {"seed": seed, **contestant.trains}
    return fill_in(base, {"model": contestant.says, "training": training})


def scored(deployment: Deployment, days: Sequence[Day], *, by_the_hour: bool) -> Tally:
    """Learn the days in order; each scored one is scored before it is learnt."""
    torch.set_num_threads(deployment.training.threads)
    learner = Learner.untrained(deployment.model, seed=deployment.training.seed)
    tally = Tally()
    for day in days:
        if day.is_scored:
            _score(deployment, learner, day, tally, by_the_hour=by_the_hour)
        if day is not days[-1]:
            seed = deployment.training.seed * 1_000_003 + day.day.toordinal()
            rows = sampled(day.rows, deployment.model, day.stock)
            rows_shuffled(deployment, learner, rows, seed=seed, stock=day.stock, on_step=_untold)
    return tally


def _score(
    deployment: Deployment, night: Learner, day: Day, tally: Tally, *, by_the_hour: bool
) -> None:
    learner = Learner.from_arrays(deployment.model, night.arrays())
    opening = day.hours[0].catalogue
    for hour in day.hours:
        served = hour if by_the_hour else replace(hour, catalogue=opening)
        tally.add(positions_of(hour.clicked.rows.item_keys, _lists(learner, served)))
        if by_the_hour:
            rows = sampled(hour.rows, deployment.model, hour.stock)
            rows_in_order(deployment, learner, rows, stock=hour.stock, on_step=_untold)


def _lists(learner: Learner, hour: Hour) -> Keys:
    """uint64 [B, DEPTH]: the best of the whole catalogue for each click, by exact search."""
    if hour.catalogue is None:
        raise ValueError(f"{hour.at} is not to be scored")
    vectors = learner.model.candidate_vectors(hour.catalogue.encoded)
    queries = learner.model.query_vectors(hour.clicked.query)
    return best(queries @ vectors.T, hour.catalogue.items)


def best(scores_BU: npt.NDArray[np.float32], items: Keys) -> Keys:
    """uint64 [B, DEPTH]: the items with the largest scores, best first."""
    found = torch.topk(torch.from_numpy(scores_BU), DEPTH, dim=1).indices
    lists: Keys = items[found.numpy()]
    return lists


def _untold(_learnt: int, _loss: float) -> None:
    """Nobody asks how far a pass is: one takes seconds."""
