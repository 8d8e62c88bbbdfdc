"""What a report says in words."""

from typing import Any

import pytest

from evaluation.intervals import Share
from evaluation.verdict import verdict


def policy(name: str, recall: float, *, deep: float = 0.8, **more: Any) -> dict[str, Any]:
    kind = "baseline" if name.startswith("popular") else "model"
    found = {"name": name, "kind": kind, "recall@10": recall, "recall@100": deep}
    return found | {"positives": 10_000, "groups": {}, "cost_seconds": {}} | more


def report(*policies: dict[str, Any], error: float = 0.002) -> dict[str, Any]:
    """With differences that are sure to within that."""
    pairs = [(one, other) for place, one in enumerate(policies) for other in policies[place + 1 :]]
    return {
        "policies": list(policies),
        "differences": [
            {"one": one["name"], "other": other["name"]}
            | {
                key: value
                for k in (10, 100)
                for key, value in between(one, other, k, error).items()
            }
            for one, other in pairs
        ],
    }


def between(one: dict[str, Any], other: dict[str, Any], k: int, error: float) -> dict[str, Any]:
    value = one[f"recall@{k}"] - other[f"recall@{k}"]
    return {f"recall@{k}": value, f"interval@{k}": [value - error, value + error]}


def test_where_a_list_beats_every_model_that_is_said_first() -> None:
    """The one thing that a reader must not miss."""
    said = verdict(report(policy("nightly", 0.3), policy("popular-1h", 0.4)))

    assert said[0].startswith("a plain list beats every model: popular-1h with recall@10 0.400")
    assert "nightly with recall@10 0.300: -0.100 [-0.102, -0.098]" in said[0]


def test_where_the_model_wins_the_lead_is_given_with_its_interval() -> None:
    """And nothing more of the first hundred where these say the same."""
    said = verdict(
        report(policy("popular-1h", 0.3, deep=0.7), policy("nightly+hourly", 0.4, deep=0.9))
    )

    assert said[0].startswith("the model wins: nightly+hourly with recall@10 0.400")
    assert "+0.100 [0.098, 0.102]" in said[0]
    assert not any("hundred" in each for each in said)


def test_what_may_be_chance_is_too_close_to_tell() -> None:
    """An interval that holds zero; the first hundred may tell another story."""
    said = verdict(report(policy("hourly", 0.401, deep=0.7), policy("popular-1h", 0.4, deep=0.8)))

    assert said[0].startswith("the model and the best list are too close to tell")
    assert said[1].startswith("among the first hundred a list wins: hourly with recall@100 0.700")


@pytest.mark.parametrize(
    ("recall", "words"),
    [
        (0.3, "hourly updates pay here: +0.200 [0.198, 0.202], 0.500 for 0.300"),
        (0.499, "hourly updates make no difference that can be told"),
        (0.6, "hourly updates do harm here: -0.100"),
    ],
)
def test_what_hourly_updates_are_worth_is_said(recall: float, words: str) -> None:
    """Against nightly retrains alone."""
    said = verdict(report(policy("nightly+hourly", 0.5), policy("nightly", recall)))

    assert any(each.startswith(words) for each in said)


@pytest.mark.parametrize(
    ("nightly", "hourly", "quick", "words"),
    [
        (0.1, 0.5, 0.501, "every 60 minutes is enough (nightly+hourly): 10min"),
        (0.1, 0.5, 0.55, "every 10 minutes is enough (10min)"),
        (0.5, 0.5, 0.501, "every 24 hours is enough (nightly)"),
    ],
)
def test_the_slowest_cadence_that_loses_nothing_is_enough(
    nightly: float, hourly: float, quick: float, words: str
) -> None:
    """Nothing: what may be chance, or less than a hundredth."""
    said = verdict(
        report(policy("nightly", nightly), policy("10min", quick), policy("nightly+hourly", hourly))
    )

    assert any(words in each for each in said)


def test_what_statistics_alone_give_stands_beside_quicker_passes() -> None:
    """How much of a cadence is had for free."""
    hourly, quick = policy("nightly+hourly", 0.5), policy("10min", 0.54)
    said = verdict(report(hourly, policy("nightly+hourly+statistics-10min", 0.53), quick))

    assert (
        "statistics every 10 minutes between hourly passes give +0.030 [0.028, 0.032]; passes as "
        "often give +0.040 [0.038, 0.042]"
    ) in said


def group(recall: float, half: float, clicks: int) -> dict[str, Any]:
    return {
        "recall@10": recall,
        "interval@10": [recall - half, recall + half],
        "positives": clicks,
    }


def test_groups_are_named_where_a_list_is_better_or_clicks_are_few() -> None:
    """New items are found by a list only; of the tail there are forty clicks."""
    ours = {"new_items": group(0.1, 0.01, 900), "tail": group(0.5, 0.01, 40)}
    lists = {"new_items": group(0.2, 0.01, 900), "tail": group(0.2, 0.01, 40)}
    said = verdict(
        report(policy("hourly", 0.5, groups=ours), policy("popular-1h", 0.4, groups=lists))
    )

    assert "a list is better than any model for new items (0.200 against 0.100)" in said
    assert "too few clicks to judge tail (40 clicks)" in said


def test_nothing_scored_is_said() -> None:
    """As after an interruption in the first day."""
    assert verdict({"policies": [], "differences": []}) == ["nothing was scored"]
    assert not Share(0.1, -0.1, 0.2).is_sure


@pytest.mark.parametrize("other", ["10min", "10min+id_tables"])
def test_what_another_way_to_learn_gives_is_beside_its_opposite(other: str) -> None:
    """Or beside what is configured, where that is all there is."""
    said = verdict(report(policy(other, 0.4), policy("10min+everything", 0.42)))

    words = f"+0.020 [0.018, 0.022], 0.420 for 0.400 (10min+everything against {other})"
    assert f"dense weights that learn by the hour pay here: {words}" in said
