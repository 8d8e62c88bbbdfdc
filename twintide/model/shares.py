"""What each objective counts in the product that orders items."""

import math
from collections.abc import Mapping, Sequence

from twintide.model.scales import Scales
from twintide.modelspec import ModelSpec
from twintide.objectives import Objective


def number_of(objective: str) -> str:
    """What the scale of the numbers that an objective learns is called."""
    return f"objective.{objective}"


def number_scales(spec: ModelSpec) -> Scales:
    """Of the numbers that objectives learn, where they learn numbers."""
    return Scales(
        number_of(name)
        for name, objective in spec.every_objective().items()
        if objective.loss.target_column() is not None
    )


def shares(
    spec: ModelSpec,
    log_scales: Sequence[float],
    scales: Scales,
    weights: Mapping[str, float] | None,
) -> list[float]:
    """Of each objective: what it counts by how many of its scores' units a similarity is, as a
    part of all. So one alone counts 1. `log_scales` are its −log(temperature).
    """
    objectives = spec.every_objective()
    if len(objectives) == 1:
        return [1.0]
    given = spec.request_weights() if weights is None else weights
    largest = max(given.values())
    counted = [
        given.get(name, 0.0) / largest * math.exp(log_scale) * _unit(name, objective, scales)
        for (name, objective), log_scale in zip(objectives.items(), log_scales, strict=True)
    ]
    return [each / sum(counted) for each in counted]


def _unit(name: str, objective: Objective, scales: Scales) -> float:
    """What a score is multiplied by, to be what its loss learns."""
    return objective.loss.sharpness() * scales.spread(number_of(name))
