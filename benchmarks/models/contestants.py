"""Models that are declared in YAML, each learnt night by night and scored on the days that follow.

A night is one shuffled epoch over its day, on the weights of the night before; a day that is scored
is met by the night before it, which goes on by the hour, rows of ID tables only, and is thrown away
when the next night is there: as `twintide train` does it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.models.stage import Day, Hour
from console.metrics import DEPTH, Tally, positions_of
from trainer.learner import Learner
from trainer.passes import rows_in_order, rows_shuffled
from twintide.config import Deployment, fill_in
from twintide.keys import Keys


@dataclass(frozen=True)
class Contestant:
    """A declaration: what it says beside `configs/kuairand.yaml`."""

    group: str
    name: str
    says: dict[str, Any]
    """Keys of `model`."""

    by_the_hour: bool = True
    """Whether hourly passes go on from the night; otherwise a night is served for a day."""


def _loss(kind: str, **keys: Any) -> dict[str, Any]:
    return {"loss": {"kind": kind, **keys}}


CONTESTANTS = (
    Contestant("list-wise", "softmax, in-batch, logQ", {}),
    Contestant("list-wise", "the same, nights only", {}, by_the_hour=False),
    Contestant("list-wise", "softmax, 50 of the batch", _loss("softmax", negatives=50)),
    Contestant("point-wise", "bce, 1:3", _loss("bce")),
    Contestant("pair-wise", "hinge", _loss("hinge")),
    Contestant("pair-wise", "logistic", _loss("logistic")),
    Contestant("pair-wise", "bpr", _loss("bpr")),
    Contestant("negatives", "softmax without logQ", {"logq": False}),
    Contestant("towers", "dcn", {"tower": {"kind": "dcn", "hidden": [128, 64]}}),
    Contestant(
        "towers",
        "senet",
        {"tower": {"kind": "dnn", "hidden": [128, 64], "feature_weights": {"kind": "senet"}}},
    ),
)


def declared(base: Deployment, contestant: Contestant, *, seed: int) -> Deployment:
    """The deployment of a contestant; raises Refused as `config check` does."""
    return fill_in(base, {"model": contestant.says, "training": {"seed": seed}})


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
            rows_shuffled(deployment, learner, day.rows, seed=seed, on_step=_untold)
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
            rows_in_order(deployment, learner, hour.clicked.rows, on_step=_untold)


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
