"""What a model is made of, each with the change that takes it out and the one that puts it in.

Another one is three lines of the table: its name, and the two changes. Where taking it out changes
nothing, it is not in the declaration, and is put in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from evaluation.edits import (
    TOWERS,
    Section,
    add_candidate,
    ask,
    both,
    click_histories,
    declare,
    derive,
    drop_candidate,
    drop_query,
    features_of,
    is_click_history,
    item_feature,
    look_back,
    reads_id,
    see_user,
)
from evaluation.policies import DAY_MINUTES, Policy, Variation
from evaluation.setup import Change, Setup
from twintide.config import Deployment, HourlyConfig, NightlyConfig
from twintide.features.decayed_history import FADING_CLICK

LARGER = 4
"""Times as many clicks in a batch, where small ones are taken away."""

OWN_RATE = 3.0
"""By what the rate of the item's rows is divided, or that of new rows multiplied, where one is."""

LARGEST_BATCH, LARGEST_RATE = 65_536, 10.0
LINES = ("hourly", "nightly")
USUAL_STEPS = {"hourly": HourlyConfig().min_steps, "nightly": NightlyConfig().min_steps}

NEGATIVES = 256
"""Of a source that is put in."""


@dataclass(frozen=True)
class Ingredient:
    """Something that a model may have or not."""

    name: str
    without: Change
    with_it: Change | None = None
    """None: it is only there to be taken away."""

    def change(self, variation: Variation) -> Change | None:
        """The one of the two."""
        return self.without if variation == "without" else self.with_it


def _batches(own: Deployment) -> Section:
    """Four times as large, in both lines, however few clicks there are."""
    rows = {line: getattr(own.training, line).batch_rows for line in LINES}
    larger = {line: min(LARGER * each, LARGEST_BATCH) for line, each in rows.items()}
    return {"training": {line: {"batch_rows": n, "min_steps": 0} for line, n in larger.items()}}


def _no_rate(key: str) -> Change:
    """As all rows of the line, where a table has a rate of its own."""
    return derive(
        lambda own: {
            "training": {
                line: {"tables": {name: {key: None} for name in getattr(own.training, line).tables}}
                for line in LINES
            }
        }
    )


def _item_rate(key: str, times: float) -> Change:
    """A rate of its own for the rows of items."""

    def section(own: Deployment) -> Section:
        table = item_feature(own)["table"]
        rates = {line: getattr(own.training, line).row_learning_rate * times for line in LINES}
        return {
            "training": {
                line: {"tables": {table: {key: min(rate, LARGEST_RATE)}}}
                for line, rate in rates.items()
            }
        }

    return derive(section)


def _no_residual(own: Deployment) -> Section:
    declared = [key for key in TOWERS if getattr(own.model, key) is not None]
    return {"model": {key: {"residual": None} for key in declared}}


def _residual(own: Deployment) -> Section:
    """The longest history, and the item's row."""
    names = {"query": click_histories(own)[:1], "candidate": [item_feature(own)]}
    towers = {
        f"{side}_tower": own.model.tower_of(side).model_dump(mode="json")
        | {"residual": feature["name"]}
        for side in ("query", "candidate")
        for feature in names[side]
    }
    return {"model": towers}


def _encoded(own: Deployment) -> Section:
    """The longest history, in its order."""
    plain = [each for each in click_histories(own) if each["kind"] == "history"]
    return _renamed(own, plain[:1], "attention_history")


def _pooled(own: Deployment) -> Section:
    encoded = [each for each in click_histories(own) if each["kind"] == "attention_history"]
    return _renamed(own, encoded, "history")


def _renamed(own: Deployment, features: list[Section], kind: str) -> Section:
    """These as histories of that kind."""
    made = {
        each["name"]: {key: each[key] for key in ("name", "table", "length")} | {"kind": kind}
        for each in features
    }
    query = [made.get(each["name"], each) for each in features_of(own, "query")]
    return {"model": {"query": query}} if made else {}


def _no_source(kind: str) -> Change:
    return derive(lambda own: _sources([each for each in _declared(own) if each["kind"] != kind]))


def _source(**says: object) -> Change:
    """Beside those that there are."""
    return derive(lambda own: _sources([*_declared(own), says]))


def _declared(own: Deployment) -> list[Section]:
    found: list[Section] = own.model.model_dump(mode="json")["negatives"]
    return found


def _sources(sources: list[Section]) -> Section:
    return {"model": {"negatives": sources}}


def _active_only(own: Deployment) -> Section:
    """What somebody clicked in two days; items are forgotten when no window reaches them."""
    statistics = own.model.item_statistics()
    days = statistics.reach_minutes() // DAY_MINUTES + 3 if statistics else 3
    kept = own.model.state.forget_items_after_days or days
    return {
        "model": {"state": {"forget_items_after_days": kept}},
        "publishing": {"active_within_days": 2},
    }


def _is_last_click(feature: Section, _: Deployment) -> bool:
    return is_click_history(feature) and feature["length"] == 1


INGREDIENTS = (
    Ingredient(
        "popularity bias",
        declare({"model": {"popularity_bias": False, "popularity_layer": 0}}),
        declare({"model": {"popularity_bias": True}}),
    ),
    Ingredient(
        "popularity layer",
        declare({"model": {"popularity_layer": 0}}),
        declare({"model": {"popularity_layer": 16}}),
    ),
    Ingredient(
        "item statistics",
        both(
            declare({"model": {"popularity_layer": 0}}),  # which reads them
            drop_candidate(lambda each, _: each["kind"] == "item_statistics"),
        ),
        add_candidate({"kind": "item_statistics", "name": "item_statistics"}),
    ),
    Ingredient(
        "last click",
        drop_query(_is_last_click),
        look_back({"kind": "decayed_history", "name": "last_click", **FADING_CLICK}),
    ),
    Ingredient(
        "histories",
        drop_query(lambda each, own: is_click_history(each) and not _is_last_click(each, own)),
        look_back({"kind": "history", "name": "last_clicks", "length": 20}),
    ),
    Ingredient(
        "decayed history",
        drop_query(lambda each, _: is_click_history(each) and each["kind"] == "decayed_history"),
        look_back({"kind": "decayed_history", "name": "last_decayed", "length": 50}),
    ),
    Ingredient("sequence encoder", derive(_pooled), derive(_encoded)),
    Ingredient("residual", derive(_no_residual), derive(_residual)),
    Ingredient(
        "user's id",
        drop_query(lambda each, own: reads_id(each, own.events.user)),
        see_user(),
    ),
    Ingredient("history of the request", ask("as-of-version"), ask("as-requested")),
    Ingredient("small batches", derive(_batches)),
    Ingredient(
        "steps enough",
        declare({"training": {line: {"min_steps": 0} for line in LINES}}),
        declare({"training": {line: {"min_steps": usual} for line, usual in USUAL_STEPS.items()}}),
    ),
    Ingredient(
        "rate of the item's rows",
        _no_rate("row_learning_rate"),
        _item_rate("row_learning_rate", 1 / OWN_RATE),
    ),
    Ingredient(
        "quick first rows",
        _no_rate("new_row_learning_rate"),
        _item_rate("new_row_learning_rate", OWN_RATE),
    ),
    Ingredient(
        "index of active items",
        declare({"publishing": {"active_within_days": None}}),
        derive(_active_only),
    ),
    Ingredient(
        "towers by the hour",
        declare({"training": {"hourly": {"learns": "id_tables"}}}),
        declare({"training": {"hourly": {"learns": "everything"}}}),
    ),
    Ingredient(
        "last hours again",
        declare({"training": {"hourly": {"replay": None}}}),
        declare({"training": {"hourly": {"replay": {}}}}),
    ),
    Ingredient("even negatives", _no_source("uniform"), _source(kind="uniform", count=NEGATIVES)),
    Ingredient(
        "pool of negatives",
        _no_source("pool"),
        _source(kind="pool", count=NEGATIVES, clicks=65_536),
    ),
    Ingredient(
        "logQ correction", declare({"model": {"logq": False}}), declare({"model": {"logq": True}})
    ),
)
"""In the order of a report."""


def ingredients_of(setup: Setup) -> Iterator[Ingredient]:
    """Those of the table, and each window of the statistics of items by itself."""
    yield from INGREDIENTS
    statistics = setup.deployment.model.item_statistics()
    windows = statistics.windows_minutes if statistics else ()
    for minutes in windows if len(windows) > 1 else ():
        yield Ingredient(f"window of {_said(minutes)}", derive(partial(_without_window, minutes)))


def setup_of(policy: Policy, given: Setup) -> Setup:
    """What a policy works with: where it is a variation, an ingredient is declared otherwise."""
    if policy.ingredient is None or policy.variation is None:
        return given
    ingredient = next(each for each in ingredients_of(given) if each.name == policy.ingredient)
    change = ingredient.change(policy.variation)
    return change(given) if change else given


def _without_window(minutes: int, own: Deployment) -> Section:
    """Statistics of items that do not look back so far."""
    features = [
        each | {"windows_minutes": [every for every in each["windows_minutes"] if every != minutes]}
        if each["kind"] == "item_statistics"
        else each
        for each in features_of(own, "candidate")
    ]
    return {"model": {"candidate": features}}


def _said(minutes: int) -> str:
    """10 minutes, 1 hour, 7 days."""
    units = (("day", DAY_MINUTES), ("hour", 60), ("minute", 1))
    unit, many = next((unit, many) for unit, many in units if minutes % many == 0)
    return f"{minutes // many} {unit}{'' if minutes == many else 's'}"
