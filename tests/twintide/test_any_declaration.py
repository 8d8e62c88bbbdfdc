"""After `config check` nothing about a declaration can fail: refused at load, or it runs."""

import json
import random
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from evaluation.lanes import Scoring
from evaluation.policies import parse_policy
from evaluation.progressive import progressive
from evaluation.span import span_of
from evaluation.workfolder import write_all
from publisher.publish import publish
from publisher.reader import load_version
from serving.request import RecommendRequest, parse_request
from serving.retriever import Retriever
from streaming.offline import write_shards
from tests.twintide.any_declaration import START, draw, end, events_of, messages_of
from trainer.hourly import hourly
from trainer.nightly import nightly
from twintide import config
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.jsonrows import parse
from twintide.problems import Misconfigured


def runs_to_the_end(deployment: Deployment, *, seed: int) -> None:
    """Events to shards, a night, an hour, a version that answers."""
    events = events_of(deployment.events, seed=seed)
    assert parse(messages_of(events, deployment.events.paths), deployment.events).rejected == ()
    write_shards(deployment, events, complete_until=end())
    clock = HeldClock(end())
    nights = nightly(deployment, clock=clock)
    if not any(outcome.checkpoint for outcome in nights):
        return  # the data hold no click
    first = publish(deployment, clock=clock)
    hourly(deployment, clock=clock)
    clock.move_to(end() + timedelta(hours=2))
    hourly(deployment, clock=clock)
    second = publish(deployment, clock=clock)
    for published in (first, second):
        assert published.gate.passed, published.gate.reasons
        version = load_version(deployment.versions_dir, published.version)
        retriever = Retriever(version, clock=clock, max_k=deployment.serving.max_k)
        for event in (events.slice(0, 1).to_pylist()[0], dict.fromkeys(events.column_names)):
            assert retriever.answer(request_of(event, deployment)).item_ids


def request_of(event: dict[str, Any], deployment: Deployment) -> RecommendRequest:
    """The user of an event asks, with what the query tower reads of it."""
    schema = deployment.events
    read = {getattr(feature, "column", schema.user) for feature in deployment.model.query}
    body = {
        "user_id": event[schema.user],
        "k": 3,
        "features": {name: event[name] for name in read - {schema.user}},
        "recent": [event[schema.item]] if event[schema.item] is not None else None,
    }
    return parse_request(json.dumps(body).encode())


def evaluates_to_the_end(deployment: Deployment, folder: Path, *, seed: int) -> None:
    """The same events in virtual time, as `twintide evaluate` takes them."""
    events = events_of(deployment.events, seed=seed)
    sorted_by_time = events.sort_by(deployment.events.time)
    if not pc.any(deployment.events.is_click(events)).as_py():
        return
    day_after = START + timedelta(hours=24)  # where few events have gaps, none would be scored
    span = span_of(sorted_by_time, deployment, score_from=day_after, score_until=None)
    own = write_all(deployment, sorted_by_time, folder, asked={})
    policies = [parse_policy(name) for name in ("nightly+hourly", "hourly", "popular-1h")]
    progressive(own, policies, Scoring(span), folder=folder)


def accepted(seed: int, folder: Path) -> Deployment | None:
    """The declaration of this seed, where it is accepted."""
    values = draw(random.Random(seed), str(folder / "data"))
    try:
        return config.parse(values, name=f"declaration {seed}")
    except Misconfigured:
        return None


def accepted_seeds(folder: Path, seeds: range) -> list[int]:
    return [seed for seed in seeds if accepted(seed, folder) is not None]


@pytest.mark.promise("X2")
def test_a_declaration_is_refused_or_runs_to_the_end(tmp_path: Path) -> None:
    """Drawn from the grammar of the YAML: events, shards, a night, hours, versions, answers."""
    for seed in accepted_seeds(tmp_path, range(12))[:QUICK]:
        deployment = accepted(seed, tmp_path / str(seed))
        assert deployment is not None
        runs_to_the_end(deployment, seed=seed)


QUICK = 3
LONG = 150


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.promise("X2")
def test_many_declarations_are_refused_or_run_to_the_end(tmp_path: Path) -> None:
    """The same for many; every fifth is evaluated in virtual time as well."""
    for number, seed in enumerate(accepted_seeds(tmp_path, range(1000, 1000 + 3 * LONG))):
        folder = tmp_path / str(seed)
        deployment = accepted(seed, folder)
        assert deployment is not None
        runs_to_the_end(deployment, seed=seed)
        if number % 5 == 0:
            evaluates_to_the_end(deployment, folder / "evaluation", seed=seed)
        shutil.rmtree(folder)
