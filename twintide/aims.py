"""What cannot be in what a model learns: its objectives, their losses, targets and rewards.

Pure rules, as those of twintide.declaration, which asks them. Where no objective is declared these
are the model's own `loss` and `reward`.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from twintide.conditions import AMOUNTS, fits, no_column, not_of_exposures
from twintide.events import EventSchema
from twintide.losses import Softmax
from twintide.modelspec import ModelSpec
from twintide.negatives import NEVER_NEGATIVE, names_what_was_shown
from twintide.objectives import Objective
from twintide.problems import Problem

if TYPE_CHECKING:
    from twintide.config import TrainingConfig

Problems = Iterator[Problem]


def clicks(events: EventSchema) -> Problems:
    """Which events are clicks."""
    if events.positive is not None:
        yield from fits("events.positive", events.positive, events)
        yield from not_of_exposures("events.positive", events.positive, events)


def positives(events: EventSchema, model: ModelSpec) -> Problems:
    """Which events are positives, and where they happen."""
    for name, scenario in model.scenarios.items():
        yield from fits(f"model.scenarios.{name}", scenario, events)
    for name, objective in model.objectives.items():
        if objective.positive is not None:
            key = f"model.objectives.{name}.positive"
            yield from fits(key, objective.positive, events)
            yield from not_of_exposures(key, objective.positive, events)


def scenarios(model: ModelSpec) -> Problems:
    """Each scenario that is named is there, and each that is there is named."""
    named = {objective.scenario for objective in model.objectives.values()}
    for name, objective in model.objectives.items():
        if objective.scenario is not None and objective.scenario not in model.scenarios:
            there = ", ".join(sorted(model.scenarios)) or "none"
            yield Problem(
                f"model.objectives.{name}.scenario",
                f"there is no scenario {objective.scenario!r}; there is {there}",
                hint=f"model.scenarios: {{{objective.scenario}: {{column: page, equals: home}}}}",
                reads=("model.scenarios",),
            )
    for name in model.scenarios:
        if name not in named:
            yield Problem(
                f"model.scenarios.{name}",
                "is the scenario of no objective",
                hint=f"`scenario: {name}` in an objective, or leave it out",
                reads=("model.objectives",),
            )


def together(model: ModelSpec) -> Problems:
    """No two objectives are one, one at least counts in answers, and nothing is said twice."""
    if not model.objectives:
        return
    for (one, first), (other, second) in combinations(model.objectives.items(), 2):
        if _learns(first) == _learns(second):
            yield Problem(
                f"model.objectives.{other}",
                f"learns the same as {one}: positives, scenario, loss and reward are equal",
                hint="one of them with a larger weight does the same",
                reads=(f"model.objectives.{one}",),
            )
    if not any(objective.request_weight for objective in model.objectives.values()):
        yield Problem(
            "model.objectives",
            "request_weight is 0 in each of them, so that nothing would order an answer",
            hint="leave it out, for 1",
        )
    for key, given in (("loss", model.loss != Softmax()), ("reward", model.reward is not None)):
        if given:
            yield Problem(
                f"model.{key}",
                f"is given, and each of the objectives has a {key} of its own",
                hint=f"say it in an objective: model.objectives.{next(iter(model.objectives))}",
                reads=("model.objectives",),
            )


def _learns(objective: Objective) -> dict[str, object]:
    return objective.model_dump(exclude={"weight", "request_weight"})


def losses(model: ModelSpec) -> Problems:
    """What a loss says of its own keys."""
    reach = 2 / model.temperature if model.similarity == "cosine" else math.inf
    for where, objective in _objectives(model):
        for problem in objective.loss.problems(reach=reach):
            yield replace(
                problem,
                key=f"{where}.loss.{problem.key}",
                reads=("model.temperature", "model.similarity"),
            )


def negatives(model: ModelSpec, training: "TrainingConfig") -> Problems:
    """A batch has to have as many other items as a click is to have negatives."""
    smallest = min(training.nightly.batch_rows, training.hourly.batch_rows)
    available = sum(source.most(smallest) for source in model.negatives)
    line = "nightly" if smallest == training.nightly.batch_rows else "hourly"
    brought = f" and {source_names(model)} have" if model.has_sources() else " has"
    for where, objective in _objectives(model):
        if (count := objective.loss.drawn()) is not None and count > available:
            yield Problem(
                f"{where}.loss.negatives",
                f"{count} are more than a batch of {smallest} clicks{brought} other items",
                hint="fewer; or null, for all items of the batch, where the loss allows it",
                reads=(f"training.{line}.batch_rows", "model.negatives"),
            )


def sources(model: ModelSpec) -> Problems:
    """What the sources of negatives say of their own keys, and of each other."""
    kinds = [source.kind for source in model.negatives]
    for kind in dict.fromkeys(each for each in kinds if kinds.count(each) > 1):
        yield Problem(
            "model.negatives", f"{kinds.count(kind)} sources are {kind}", hint="one with all of it"
        )
    if not any(source.is_enough for source in model.negatives):
        yield Problem(
            "model.negatives",
            f"{source_names(model)} alone would leave items that are never a negative",
            hint="`- {kind: in_batch}` beside, or uniform or popularity",
        )
    for number, source in enumerate(model.negatives):
        for problem in source.problems():
            yield replace(problem, key=f"model.negatives.{number}.{problem.key}")


def source_names(model: ModelSpec) -> str:
    """The kinds of the sources of negatives."""
    return ", ".join(each.kind for each in model.negatives)


def amounts(events: EventSchema, model: ModelSpec) -> Problems:
    """Rewards and targets are numbers of the event."""
    for where, objective in _objectives(model):
        reward = objective.reward.column if objective.reward else None
        for key, column, what in (
            ("reward", reward, "amount that a click could count"),
            ("loss", objective.loss.target_column(), "number that a loss could learn"),
        ):
            kind = events.columns.get(column) if column else None
            if column and kind is None:
                yield no_column(f"{where}.{key}.column", column, events)
            elif column and kind not in AMOUNTS:
                yield Problem(
                    f"{where}.{key}.column",
                    f"column {column!r} is {kind}, which is no {what}",
                    hint=f"take a column that is {' or '.join(AMOUNTS)}",
                    reads=(f"events.columns.{column}",),
                )


def _objectives(model: ModelSpec) -> Iterator[tuple[str, Objective]]:
    """Each objective, by the key that declares it."""
    if model.objectives:
        yield from ((f"model.objectives.{name}", one) for name, one in model.objectives.items())
    else:
        yield from (("model", one) for one in model.every_objective().values())


def sampling(model: ModelSpec) -> Problems:
    """What is said of how often a click is learnt."""
    if model.positives is not None:
        for problem in model.positives.problems():
            yield replace(problem, key="model.positives")


def hard(events: EventSchema, model: ModelSpec) -> Problems:
    """Columns of hard negatives list items, and none that were shown."""
    if (declared := model.hard()) is None:
        return
    key = f"model.negatives.{model.negatives.index(declared)}.from_columns"
    wanted = f"list<{events.columns.get(events.item, 'string')}>"
    for column in declared.from_columns:
        kind, reads = events.columns.get(column), (f"events.columns.{column}", "events.item")
        if kind is None:
            yield no_column(key, column, events)
        elif names_what_was_shown(column):
            yield Problem(
                key,
                f"column {column!r} names what was shown: {NEVER_NEGATIVE}",
                hint="name the columns that list what pre-ranking or ranking dropped",
                reads=reads,
            )
        elif kind != wanted:
            item = "; an event's own item was shown" if column == events.item else ""
            yield Problem(
                key,
                f"column {column!r} is {kind}, and a list of items is {wanted}{item}",
                hint="name the columns that list what pre-ranking or ranking dropped",
                reads=reads,
            )
