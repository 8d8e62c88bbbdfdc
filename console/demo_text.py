"""What the demo shows at its end: a table, versions, an answer, what to type next, and a page."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType

from console.policies_table import policies_table
from console.versions import gate_line, versions_table
from demo.live import Answered, Suggested, WentBack
from twintide.output import command, heading, instant, number, table

_MIB = 1024 * 1024


def text_of(result: dict[str, Any]) -> Iterator[RenderableType]:
    """The last screen, part by part."""
    report = result["report"]
    yield heading("How good is each update policy?")
    yield policies_table(report)
    yield from (f"  - {said}" for said in report["verdict"])
    yield heading("Hour by hour")
    yield from _curves(report, k=10)
    yield heading("The deployment's versions")
    yield versions_table(result["versions"][::-1])
    yield f"  {gate_line(result['rollback'].after_release.gate)}"
    yield heading("One answer")
    yield from _answer(result["answer"])
    yield heading("A rollback, and back again")
    yield from _rollback(result["rollback"])
    yield heading("Time and memory")
    yield from _costs(result)
    yield heading("Type next")
    yield from _next(result)
    yield heading("Look at")
    yield f"  {result['paths'][1].resolve().as_uri()}\n  its figures: {result['paths'][0]}"


def _curves(report: dict[str, Any], *, k: int) -> Iterator[str]:
    """One line of bars per policy, all of one scale."""
    key = f"recall@{k}"
    top = max(hour[key] or 0.0 for policy in report["policies"] for hour in policy["hours"])
    width = max(len(policy["name"]) for policy in report["policies"])
    for policy in report["policies"]:
        bars = sparkline(_few([hour[key] for hour in policy["hours"]]), top=top)
        yield f"  {policy['name']:<{width}}  {bars}  {number(policy[key])}"
    hours = report["policies"][0]["hours"]
    if hours:
        yield (
            f"  {'':<{width}}  {key}, scored {hours[0]['start_at']} to {hours[-1]['start_at']}; "
            f"a full block is {top:.2f}"
        )


def _few(values: list[float | None], *, at_most: int = 80) -> list[float | None]:
    """Means of neighbours, where one character an hour would not fit on a line."""
    step = -(-len(values) // at_most)
    groups = [
        [value for value in values[begin : begin + step] if value is not None]
        for begin in range(0, len(values), step)
    ]
    return [sum(group) / len(group) if group else None for group in groups]


def _answer(answered: Answered) -> Iterator[RenderableType]:
    if answered.mean_chance is None:
        yield table(
            f"user {answered.user_id}, version {answered.version}",
            ("#", "item", "#score"),
            [(n, each.item_id, number(each.score)) for n, each in enumerate(answered.items, 1)],
        )
        return
    yield table(
        f"user {answered.user_id} at {instant(answered.at)} UTC, version {answered.version}; "
        "the click world knows what is true",
        ("#", "item", "#score", "#age (h)", "#true chance of a click", "#true place"),
        [_row(place, each) for place, each in enumerate(answered.items, start=1)],
    )
    yield (
        f"  mean true chance of a click: {number(answered.mean_chance)} for this answer, "
        f"{number(answered.random_mean_chance)} for an item at random, "
        f"{number(answered.best_mean_chance)} for the best ten of all "
        f"{answered.living_items:,} living items"
    )


def _row(place: int, each: Suggested) -> tuple[object, ...]:
    age = "always" if each.age_hours is None else f"{each.age_hours:.1f}"
    true_place = each.true_place if each.true_place is not None else "gone"
    return (place, each.item_id, number(each.score), age, number(each.click_chance), true_place)


def _rollback(back: WentBack) -> Iterator[str]:
    state = back.after_rollback
    yield f"  rollback       {state.current} is live again instead of {state.previous}"
    yield f"  next publish   {back.held.why}"
    yield f"  release        {back.after_release.why}"


def _costs(result: dict[str, Any]) -> Iterator[str]:
    seconds, peak = result["seconds"], result["peak_memory_bytes"]
    steps = ", ".join(f"{name} {took:.1f} s" for name, took in seconds.items())
    yield f"  {steps}; together {result['total_seconds']:.1f} s"
    yield (
        f"  peak memory {peak['demo'] / _MIB:,.0f} MiB here, "
        f"{peak['ingest'] / _MIB:,.0f} MiB in the ingest daemon"
    )


def _next(result: dict[str, Any]) -> Iterator[RenderableType]:
    config, user = result["config"], result["answer"].user_id
    newest = result["versions"][0].name
    lines = [
        (f"twintide status -c {config}", "what is live, how fresh, what is wrong"),
        (f"twintide recommend -c {config} --user-id {user}", "the answer above, as of now"),
        (f"twintide serve -c {config}", "HTTP: POST /v1/recommend"),
        (f"twintide versions -c {config}", f"and: twintide show {newest} -c {config}"),
        (
            f'twintide rollback -c {config} --reason "trying it"',
            f"and: twintide release -c {config}",
        ),
        (f"twintide verify -c {config}", "every byte of every shard, checkpoint and version"),
    ]
    if result["kafka"]["local"]:
        port = result["kafka"]["address"].rpartition(":")[2]
        folder = config.parent / "kafka"
        lines.append(
            (
                f"twintide broker --port {port} --data {folder}",
                "the demo's Kafka again, stopped now",
            )
        )
    width = max(len(words) for words, _ in lines)
    for words, why in lines:
        yield command(f"  {words:<{width}}", why)


def sparkline(values: Sequence[float | None], *, top: float) -> str:
    """One character per value, its height the share of `top`; a space where there is none."""
    blocks = "▁▂▃▄▅▆▇█"
    height = len(blocks) / (top or 1.0)
    return "".join(
        " " if value is None else blocks[min(int(value * height), len(blocks) - 1)]
        for value in values
    )
