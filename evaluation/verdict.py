"""What an evaluation says to a person: the table, the best first, and the answer in a sentence."""

from collections.abc import Iterator
from math import sqrt
from typing import Any

from twintide.output import Listing, number, table

KEY = "recall@10"
"""What policies are ranked by: the share of clicks whose item was in the first ten."""

_SURE = 2.0
"""Standard errors by which a difference must be larger than chance."""

Policy = dict[str, Any]


def policies_table(report: dict[str, Any]) -> Listing:
    """Policy beside policy, the best first."""
    columns = "policy #recall@10 #@50 #@100 #new_users@10 #coverage #train_s"
    ranked = _ranked(report["policies"])
    scored = max((each["positives"] for each in ranked), default=0)
    return table(
        f"{scored:,} clicks scored, share found in the first 10, 50, 100",
        [name.replace("_", " ") for name in columns.split()],
        [
            (
                f"{each['name']} *" if place == 0 and each[KEY] is not None else each["name"],
                *(number(each[f"recall@{k}"]) for k in (10, 50, 100)),
                number(each["groups"].get("new_users", {}).get(KEY)),
                number(each["coverage@10"]),
                f"{each['train_seconds']:.1f}" if each["kind"] == "model" else None,
            )
            for place, each in enumerate(ranked)
        ],
    )


def story(report: dict[str, Any]) -> Iterator[str | Listing]:
    """What was gone through, what was found, and what follows from it."""
    data = report["data"]
    yield (
        f"{data['events']:,} events, {data['positives']:,} of them clicks, of {data['users']:,} "
        f"users on {data['items']:,} items, {data['first_at']} to {data['last_at']}"
    )
    for gap in data["gaps"]:
        yield (
            f"note: no event for {_days(gap['hours'])}, from {gap['after']} to {gap['until']}: "
            "a hole in the data, or a stray event beside it"
        )
    if "partial" in report:
        partial = report["partial"]
        yield f"note: interrupted at {partial['at']}, {partial['done_ratio']:.0%} of the way"
    yield policies_table(report)
    yield from verdict(report["policies"])


def verdict(policies: list[Policy]) -> Iterator[str]:
    """The winner, and whether a plain list would do."""
    ranked = [each for each in _ranked(policies) if each[KEY] is not None]
    if not ranked:
        yield "nothing was scored"
        return
    best = ranked[0]
    models = [each for each in ranked if each["kind"] == "model"]
    lists = [each for each in ranked if each["kind"] == "baseline"]
    if models and best["kind"] == "baseline":
        yield (
            f"no model beats a plain list: {_said(best)}, the best model, {_said(models[0])}"
            f"{_doubt(best, models[0])}"
        )
        return
    yield f"* best: {_said(best)}"
    if len(models) > 1:
        yield f"  next model: {_said(models[1])}{_doubt(best, models[1])}"
    if models and lists:
        yield f"  best list: {_said(lists[0])}{_doubt(best, lists[0])}"


def _ranked(policies: list[Policy]) -> list[Policy]:
    return sorted(policies, key=lambda each: -1.0 if each[KEY] is None else each[KEY], reverse=True)


def _said(policy: Policy) -> str:
    return f"{policy['name']} with {KEY} {number(policy[KEY])}"


def _doubt(one: Policy, other: Policy) -> str:
    """Whether the difference may be chance, both being shares of the same number of clicks."""
    clicks = max(one["positives"], 1)
    error = sqrt(sum(each[KEY] * (1 - each[KEY]) for each in (one, other)) / clicks)
    return " (too close to tell)" if one[KEY] - other[KEY] < _SURE * error else ""


def _days(hours: float) -> str:
    return f"{hours / 24:,.1f} days"
