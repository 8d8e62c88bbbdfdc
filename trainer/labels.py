"""What each event is to each objective: whether it is a positive, of which number, counting what.

Slices hold these as columns `positive.<objective>`, `target.<objective>` where its loss learns a
number, and `weight.<objective>` where it has a reward.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twintide.modelspec import ModelSpec
from twintide.objectives import Objective

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

LARGEST = 1e30
"""Of a target, which is a float32."""


@dataclass(frozen=True)
class Labels:
    """What N events are to one objective."""

    positive: Bools | None = None
    """[N]: which of them are its positives; None for all."""

    targets: Floats | None = None
    """[N]: the number that its loss learns, finite for each positive; None where it learns none."""

    weights: Floats | None = None
    """[N]: what each positive counts; None for 1 each."""

    def rows(self) -> Ints | None:
        """The numbers of the positives; None for all."""
        return None if self.positive is None else np.flatnonzero(self.positive)

    def take(self, rows: Ints) -> "Labels":
        """Those of these events."""
        return Labels(
            None if self.positive is None else self.positive[rows],
            None if self.targets is None else self.targets[rows],
            None if self.weights is None else self.weights[rows],
        )


EVERY_ROW = Labels()


def labels_of(events: pa.Table, is_click: Bools, model: ModelSpec) -> dict[str, Labels]:
    """By objective. An event whose target is not known is no positive of it."""
    found = {}
    for name, objective in model.every_objective().items():
        positive = objective.positive.among(events) if objective.positive else is_click
        if (scenario := model.scenario_of(objective)) is not None:
            positive = positive & scenario.among(events)
        targets = _targets(events, objective)
        if targets is not None:
            positive = positive & np.isfinite(targets)
        weights = objective.reward.of(events) if objective.reward else None
        found[name] = Labels(positive, targets, weights)
    return found


def _targets(events: pa.Table, objective: Objective) -> Floats | None:
    column = objective.loss.target_column()
    if column is None:
        return None
    numbers = events[column].cast(pa.float64(), safe=False)
    known = pc.fill_null(numbers, np.nan).to_numpy()
    targets: Floats = np.clip(known, -LARGEST, LARGEST).astype(np.float32)
    return targets


def to_columns(labels: dict[str, Labels]) -> dict[str, pa.Array]:
    """As they stand in slices."""
    columns = {}
    for name, each in labels.items():
        for part in ("positive", "targets", "weights"):
            if (values := getattr(each, part)) is not None:
                columns[_column(part, name)] = pa.array(values)
    return columns


def from_columns(rows: pa.Table, model: ModelSpec) -> dict[str, Labels]:
    """What `to_columns` gave."""
    return {name: _from_columns(rows, name) for name in model.every_objective()}


def _from_columns(rows: pa.Table, name: str) -> Labels:
    parts = {
        part: rows[column].to_numpy()
        for part in ("positive", "targets", "weights")
        if (column := _column(part, name)) in rows.column_names
    }
    positive = parts.pop("positive")
    return Labels(None if positive.all() else positive, **parts)


def _column(part: str, objective: str) -> str:
    return f"{_PREFIXES[part]}.{objective}"


_PREFIXES = {"positive": "positive", "targets": "target", "weights": "weight"}
