"""What a report says of each policy, against plain loops over clicks and lists."""

from dataclasses import replace
from itertools import chain
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from evaluation.report import report
from evaluation.scored import Clicks
from tests.evaluation import made
from twintide.keys import Keys

CLICKS = made.scored(6, 80, seed=1)


@pytest.fixture(scope="module")
def found() -> tuple[dict[str, Any], dict[str, list[Keys]]]:
    """The report of four policies, and their lists."""
    skills = {"nightly+hourly": 0.6, "nightly": 0.3, "popular-1h": 0.5, "popular-24h": 0.2}
    runners = {name: made.runner(name, CLICKS, skill=skill) for name, skill in skills.items()}
    lists = {name: each for name, (_, each) in runners.items()}
    return report([each for each, _ in runners.values()], data=made.data(CLICKS)), lists


def rows(lists: list[Keys]) -> list[tuple[int, list[int], int, dict[str, bool]]]:
    """(item, list, tick, groups) of each click."""
    return [
        (
            int(item),
            shown.tolist(),
            int(tick),
            {name: bool(g[i]) for name, g in clicks.groups.items()},
        )
        for clicks, made_lists in zip(CLICKS, lists, strict=True)
        for i, (item, shown, tick) in enumerate(
            zip(clicks.items, made_lists, clicks.ticks_ms, strict=True)
        )
    ]


@pytest.mark.parametrize("place", range(4))
def test_every_figure_is_what_a_plain_loop_says(
    found: tuple[dict[str, Any], dict[str, list[Keys]]], place: int
) -> None:
    """Recall, precision, position, coverage, the head's share; in all, by group and by hour."""
    policy = found[0]["policies"][place]
    all_rows = rows(found[1][policy["name"]])

    def check(
        scope: dict[str, Any], own: list[tuple[int, list[int], int, dict[str, bool]]]
    ) -> None:
        assert scope["positives"] == len(own)
        for k in (10, 50, 100):
            recall = fmean(item in shown[:k] for item, shown, _, _ in own)
            assert scope[f"recall@{k}"] == pytest.approx(recall, abs=1e-6)
            assert scope[f"interval@{k}"][0] <= recall <= scope[f"interval@{k}"][1]

    check(policy, all_rows)
    places = [shown.index(item) + 1 for item, shown, _, _ in all_rows if item in shown]
    assert policy["mean_position"] == pytest.approx(fmean(places), abs=1e-6)
    assert policy["precision@10"] == pytest.approx(policy["recall@10"] / 10, abs=1e-6)
    shown_first = list(chain.from_iterable(shown[:10] for _, shown, _, _ in all_rows))
    assert policy["coverage@10"] == pytest.approx(len(set(shown_first)) / made.ITEMS, abs=1e-6)
    head = fmean(1 <= item < 20 for item in shown_first)
    assert policy["head_share@10"] == pytest.approx(head, abs=1e-6)
    for name, group in policy["groups"].items():
        if group["positives"]:
            check(group, [row for row in all_rows if row[3][name]])
    assert len(policy["hours"]) == len(CLICKS)
    for hour, clicks in zip(policy["hours"], CLICKS, strict=True):
        check(hour, [row for row in all_rows if row[2] == int(clicks.ticks_ms[0])])


def test_recall_by_age_is_of_the_clicks_of_that_age(
    found: tuple[dict[str, Any], dict[str, list[Keys]]],
) -> None:
    """Hours between the newest click that was learnt and the one that was scored; none of lists."""
    policy = found[0]["policies"][0]
    newest = np.concatenate(
        [
            np.full(80, made.START_MS + h * made.HOUR_MS - made.HOUR_MS * (1 + h % 3) // 2)
            for h in range(6)
        ]
    )
    hours = (np.concatenate([each.at_ms for each in CLICKS]) - newest) / made.HOUR_MS
    hits = np.array([item in shown[:10] for item, shown, _, _ in rows(found[1][policy["name"]])])

    assert len(policy["ages"]["model"]) >= 4
    for each in policy["ages"]["model"]:
        inside = (hours >= each["from_hours"]) & (hours < each["to_hours"])
        assert each["positives"] == inside.sum()
        assert each["recall@10"] == pytest.approx(hits[inside].mean(), abs=1e-6)
    assert found[0]["policies"][2]["ages"] == {"model": [], "statistics": []}


def test_costs_are_all_of_it_by_the_hour(
    found: tuple[dict[str, Any], dict[str, list[Keys]]],
) -> None:
    """Half a second an hour was spent on each."""
    for policy in found[0]["policies"]:
        assert policy["cost_seconds_per_hour"] == 0.5
        assert sum(policy["cost_seconds"].values()) == 3.0
        assert policy["train_seconds"] == (3.0 if policy["kind"] == "model" else 0.0)


def test_differences_are_click_by_click_whatever_the_slices(
    found: tuple[dict[str, Any], dict[str, list[Keys]]],
) -> None:
    """A pace cuts its slices elsewhere: the same clicks in another order give the same figures."""
    whole = Clicks.all_of(CLICKS)
    rng = np.random.default_rng(2)
    order = np.argsort(whole.at_ms // 600_000 * 1_000 + rng.integers(0, 1_000, len(whole.items)))
    one, _ = made.runner("nightly+hourly", CLICKS, skill=0.6)
    other, _ = made.runner("nightly+hourly", [whole.take(order)], skill=0.6)
    other.board.marks.clear()
    mark = one.board.marks[0]
    positions = one.board.positions()[order]
    other.board.add(replace(mark, positions=positions))
    other.policy = replace(other.policy, name="10min")

    (pair,) = report([one, other], data=made.data(CLICKS))["differences"]

    assert pair["recall@10"] == 0.0
    assert pair["interval@10"] == [0.0, 0.0]


def test_seeds_are_one_policy(found: tuple[dict[str, Any], dict[str, list[Keys]]]) -> None:
    """Its recall is their mean, and each one's is told."""
    runners = [made.runner("hourly", CLICKS, skill=0.5, seed=seed)[0] for seed in (4, 5, 6)]
    (policy,) = report(runners, data=made.data(CLICKS))["policies"]

    recalls = [each["recall@10"] for each in policy["seeds"]]
    assert [each["seed"] for each in policy["seeds"]] == [4, 5, 6]
    assert policy["recall@10"] == pytest.approx(fmean(recalls), abs=1e-6)
    assert policy["positives"] == 480
