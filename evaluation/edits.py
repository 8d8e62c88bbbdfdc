"""Changes of a declaration, of which ingredients are made. Features are as YAML has them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from evaluation.setup import Change, History, Setup
from twintide.config import Deployment, fill_in

Section = dict[str, Any]
Features = list[Section]
TOWERS = ("tower", "query_tower", "candidate_tower")
HISTORIES = frozenset({"history", "decayed_history", "attention_history"})


def declare(section: Section) -> Change:
    """The same keys, whatever there is: `{"model": {"logq": False}}`."""
    return derive(lambda _: section)


def derive(section_of: Callable[[Deployment], Section]) -> Change:
    """Keys that depend on what there is."""

    def change(setup: Setup) -> Setup:
        changes = section_of(setup.deployment)
        if not changes:
            return setup
        return replace(setup, deployment=fill_in(setup.deployment, changes))

    return change


def both(first: Change, second: Change) -> Change:
    """The one, and then the other."""
    return lambda setup: second(first(setup))


def ask(history: History) -> Change:
    """How a request carries the user's history."""
    return lambda setup: replace(setup, history=history)


def drop_query(is_meant: Callable[[Section, Deployment], bool]) -> Change:
    """Without the query's features that are meant, and no residual of one of them."""
    return derive(lambda own: _dropped(own, "query", is_meant))


def drop_candidate(is_meant: Callable[[Section, Deployment], bool]) -> Change:
    """The same of the candidate's."""
    return derive(lambda own: _dropped(own, "candidate", is_meant))


def look_back(feature: Section) -> Change:
    """With one more history of clicks, of the rows that items have."""

    def section(own: Deployment) -> Section:
        return _added(own, "query", feature | {"table": item_feature(own)["table"]})

    return derive(section)


def see_user() -> Change:
    """With a row of each user's own."""
    id_of_user = {"kind": "sparse", "name": "user_id", "table": "user"}
    return derive(lambda own: _added(own, "query", id_of_user | {"column": own.events.user}))


def add_candidate(feature: Section) -> Change:
    """With one more feature of the candidate."""
    return derive(lambda own: _added(own, "candidate", feature))


def features_of(deployment: Deployment, side: str) -> Features:
    """As YAML has them."""
    found: Features = deployment.model.model_dump(mode="json")[side]
    return found


def item_feature(deployment: Deployment) -> Section:
    """The one that reads the item's id."""
    item = deployment.events.item
    features = features_of(deployment, "candidate")
    return next(each for each in features if reads_id(each, item))


def reads_id(feature: Section, column: str) -> bool:
    """Whether it is the id itself that the feature reads."""
    return bool(feature["kind"] == "sparse" and feature["column"] == column)


def click_histories(deployment: Deployment) -> Features:
    """What looks back on clicks, the longest first."""
    found = [each for each in features_of(deployment, "query") if is_click_history(each)]
    return sorted(found, key=lambda each: int(each["length"]), reverse=True)


def is_click_history(feature: Section) -> bool:
    """Whether it looks back on what the user clicked."""
    return feature["kind"] in HISTORIES and not feature["of"]


def _dropped(
    own: Deployment, side: str, is_meant: Callable[[Section, Deployment], bool]
) -> Section:
    features = features_of(own, side)
    gone = {each["name"] for each in features if is_meant(each, own)}
    if not gone:
        return {}
    towers = {
        key: {"residual": None}
        for key in TOWERS
        if (tower := getattr(own.model, key)) is not None and tower.residual in gone
    }
    return {"model": {side: [each for each in features if each["name"] not in gone]} | towers}


def _added(own: Deployment, side: str, feature: Section) -> Section:
    return {"model": {side: [*features_of(own, side), feature]}}
