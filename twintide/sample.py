"""What a sample of events says about a declaration: which parts of it would learn nothing.

A declaration may be right and yet not fit the events: a column that is always null is trained
without a word, an id that never varies tells nothing, a number that is not scaled drowns the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from twintide import itemfile
from twintide.clock import iso, latest_believed
from twintide.config import Deployment
from twintide.datafile import holds_nothing
from twintide.events import EventSchema
from twintide.features.kind import Doubt, Kind
from twintide.modelspec import ModelSpec
from twintide.problems import Problem


@dataclass(frozen=True)
class Sample:
    """What was looked at, and what is wrong."""

    events: int
    clicks: int
    anonymous: int
    """Clicks without a user: learnt, but they join no history."""

    first_at: datetime
    last_at: datetime
    """What a person sees at once, where a unit or a zone is wrong."""

    problems: tuple[Problem, ...]


def judge(deployment: Deployment, events: pa.Table, *, now: datetime) -> Sample:
    """`events` are in the schema's `arrow_schema()`, at least one; `now` is our own clock's."""
    schema = deployment.events
    clicks = events.filter(schema.is_click(events))
    bounds = pc.min_max(events[schema.time]).as_py()
    ahead = _ahead(events[schema.time], now=now, column=schema.time)
    return Sample(
        events=len(events),
        clicks=len(clicks),
        anonymous=clicks[schema.user].null_count,
        first_at=bounds["min"],
        last_at=bounds["max"],
        problems=(*ahead, *_problems(deployment, events, clicks)),
    )


def _ahead(times: pa.ChunkedArray, *, now: datetime, column: str) -> Iterator[Problem]:
    """Events that have not come yet: ingest believes no time beyond its own clock."""
    late = pc.greater(times, pa.scalar(latest_believed(now), times.type))
    count = pc.sum(late).as_py()
    if count:
        yield Problem(
            "events.time",
            f"{count} of {len(times)} values of column {column!r} lie ahead of now, up to "
            f"{iso(pc.max(times).as_py())}",
            hint="is the producer's clock right, and `times` and `time_zone` of events or "
            "data_file?",
        )


def _objectives(schema: EventSchema, model: ModelSpec, events: pa.Table) -> Iterator[Problem]:
    for name, objective in model.objectives.items():
        scenario = model.scenario_of(objective)
        meant = events.filter(schema.is_click(events)) if objective.positive is None else events
        for condition in filter(None, (objective.positive, scenario)):
            meant = meant.filter(pa.array(condition.among(meant)))
        if not len(meant):
            said = " and ".join(str(each) for each in (objective.positive, scenario) if each)
            yield Problem(
                f"model.objectives.{name}",
                f"no event of the sample is a positive of it: none of {len(events)} has "
                f"{said or schema.positive}",
                hint="leave it out, or name what the events hold",
            )


def _problems(deployment: Deployment, events: pa.Table, clicks: pa.Table) -> Iterator[Problem]:
    schema, model = deployment.events, deployment.model
    if not len(clicks):
        yield Problem(
            "events.positive",
            f"no event of the sample is a click: none of {len(events)} has {schema.positive}",
            hint="only clicks are learnt",
        )
        return
    if clicks[schema.user].null_count == len(clicks):
        yield Problem(
            "events.user",
            f"column {schema.user!r} is null in every click of the sample",
            hint=f"{_lies(schema, schema.user)} in the events? Without a user there is no history",
        )
    yield from _objectives(schema, model, events)
    for memory in model.memories().values():
        if memory.of is not None and not memory.of.among(events).any():
            yield Problem(
                f"model.query.{memory.features[0].name}.of",
                f"no event of the sample is to be remembered: none of {len(events)} has "
                f"{memory.of}",
                hint="leave the feature out, or name what the events hold",
            )
    filled = itemfile.filled(deployment.items, schema, model)
    for side, feature in model.all_features():
        if side == "candidate" and filled and set(feature.reads()) <= {*filled, schema.item}:
            continue  # the source of items tells it
        doubt = None if schema.user in feature.reads() else _doubt(clicks, feature, schema)
        if doubt:
            key = f"model.{side}.{feature.name}.{feature.column_key}"
            yield Problem(key, doubt.reason, doubt.hint)


def _doubt(clicks: pa.Table, feature: Kind, schema: EventSchema) -> Doubt | None:
    """Why a feature would learn nothing of these clicks."""
    for column in feature.reads():
        if holds_nothing(clicks[column]):
            return Doubt(
                f"column {column!r} is null in all {len(clicks)} clicks of the sample",
                f"{_lies(schema, column)} in the events? Leave the feature out where they have no "
                "such column",
            )
    return feature.doubt(clicks, time_column=schema.time)


def _lies(schema: EventSchema, column: str) -> str:
    """What to ask of a column that nothing is in."""
    path = schema.paths.get(column)
    return "is it called so" if path is None else f"does it lie at {path}"
