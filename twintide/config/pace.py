"""How old the statistics become that a model learns by: as old as those that it is served with."""

from collections.abc import Iterator
from typing import Any

from twintide.config.publishing import PublishingConfig
from twintide.config.training import TrainingConfig
from twintide.features import Feature
from twintide.features.refreshed import Refreshed
from twintide.modelspec import ModelSpec


def paced(model: ModelSpec, training: TrainingConfig, publishing: PublishingConfig) -> ModelSpec:
    """The model where statistics that do not say it become as old as versions let them."""
    minutes = training.hourly.every_minutes
    if publishing.statistics_every_minutes is not None:
        minutes = min(minutes, publishing.statistics_every_minutes)
    undecided = [each.name for each in _refreshed(model) if each.refresh_minutes is None]
    return _with(model, undecided, {"refresh_minutes": minutes})


def refreshed_every(model: ModelSpec, minutes: int, *, offset_minutes: int) -> ModelSpec:
    """The model where all statistics become as old as that, whatever they say."""
    update = {"refresh_minutes": minutes, "refresh_offset_minutes": offset_minutes}
    return _with(model, [each.name for each in _refreshed(model)], update)


def _refreshed(model: ModelSpec) -> Iterator[Refreshed]:
    for each in (*model.query, *model.candidate):
        if isinstance(each, Refreshed):
            yield each


def _with(model: ModelSpec, names: list[str], update: dict[str, Any]) -> ModelSpec:
    def changed(features: tuple[Feature, ...]) -> tuple[Feature, ...]:
        return tuple(
            each.model_copy(update=update)
            if isinstance(each, Refreshed) and each.name in names
            else each
            for each in features
        )

    if not names:
        return model
    sides = {"query": changed(model.query), "candidate": changed(model.candidate)}
    return model.model_copy(update=sides)
