"""What an evaluation says to a person: the table, the best first, and the verdict."""

from collections.abc import Iterator
from typing import Any

from twintide.output import Listing, number, table

KEY = "recall@10"


def policies_table(report: dict[str, Any]) -> Listing:
    """Policy beside policy, the best first."""
    columns = "policy #recall@10 #± #@50 #@100 #new_users@10 #coverage #train_s #s_an_hour"
    ranked = sorted(report["policies"], key=lambda each: each[KEY] or 0.0, reverse=True)
    scored = max((each["positives"] for each in ranked), default=0)
    return table(
        f"{scored:,} clicks scored, share found in the first 10, 50, 100",
        [name.replace("_", " ") for name in columns.split()],
        [
            (
                f"{each['name']} *" if place == 0 and each[KEY] is not None else each["name"],
                number(each[KEY]),
                number(_half(each["interval@10"])),
                *(number(each[f"recall@{k}"]) for k in (50, 100)),
                number(each["groups"].get("new_users", {}).get(KEY)),
                number(each["coverage@10"]),
                f"{each['train_seconds']:.1f}" if each["kind"] == "model" else None,
                number(each["cost_seconds_per_hour"]),
            )
            for place, each in enumerate(ranked)
        ],
    )


def ablation_table(report: dict[str, Any]) -> Listing:
    """Each ingredient, what the model finds without it, or with it, and how much that differs."""
    ablation = report["ablation"]
    return table(
        f"{ablation['policy']} without each ingredient, or with it where it has not got it",
        ["variation", "#@10", "#less whole", "#±", "#@100", "#less whole", "#±"],
        [
            (
                each["name"],
                *(cell for k in (10, 100) for cell in _beside(each, k)),
            )
            for each in ablation["ingredients"]
        ],
    )


def _beside(each: dict[str, Any], k: int) -> tuple[str | None, ...]:
    difference = each["difference"]
    less = difference.get(f"recall@{k}")
    return (
        number(each[f"recall@{k}"]),
        None if less is None else f"{less:+.3f}",
        number(_half(difference.get(f"interval@{k}"))),
    )


def _half(interval: list[float] | None) -> float | None:
    return (interval[1] - interval[0]) / 2 if interval else None


def story(report: dict[str, Any]) -> Iterator[str | Listing]:
    """What was gone through, what was found, and what follows from it."""
    data = report["data"]
    yield (
        f"{data['events']:,} events, {data['positives']:,} of them clicks, of {data['users']:,} "
        f"users on {data['items']:,} items, {data['first_at']} to {data['last_at']}"
    )
    for gap in data["gaps"]:
        yield (
            f"note: no event for {_long(gap['hours'])}, from {gap['after']} to {gap['until']}: "
            "an outage, a hole in the data, or a stray event beside it"
        )
    if "partial" in report:
        partial = report["partial"]
        yield f"note: interrupted at {partial['at']}, {partial['done_ratio']:.0%} of the way"
    yield policies_table(report)
    if "ablation" in report:
        yield ablation_table(report)
        for each in report["ablation"]["left_out"]:
            yield f"note: {each['ingredient']} was not tried: {each['why']}"
    yield from (f"- {said}" for said in report["verdict"])


def _long(hours: float) -> str:
    """In hours, or in days."""
    return f"{hours:,.1f} hours" if hours < 48 else f"{hours / 24:,.1f} days"  # noqa: PLR2004
