"""`twintide config diff`: what will a change of the configuration do?"""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.options import DEFAULT_CONFIG, AsJson, ConfigFile, deployment_of, quiet_logs
from twintide.output import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twintide.changes import Outcome
    from twintide.config import Deployment

EXAMPLE = "Example: twintide config diff -c new.yaml --against twintide.yaml"
_SHOWN = 60
"""Characters of a value."""


def diff(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    against: Annotated[
        Path | None,
        typer.Option(metavar="OLD", help="Default: what the newest checkpoint was trained with."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a changed configuration will do, before it is done: key by key, and all together.

    Each goes on, has slices made anew, begins a part of the model anew, or is refused. A checkpoint
    knows its events, its model and its topic; nothing else is compared with it.
    """
    from twintide.changes import differences, outcome, rule_of

    new = deployment_of(config)
    quiet_logs()
    old = deployment_of(against) if against else _trained_with(new)
    if against is None:
        new = new.with_model(new.model.placeless())
    found = list(differences(old, new))
    comes_to = outcome(old, new)
    rows = [(each, rule_of(each.key)) for each in found]
    result = {
        "differences": [
            {"path": each.path, "before": each.before, "after": each.after}
            | {"effects": [str(effect) for effect in rule.effects], "why": rule.why}
            for each, rule in rows
        ],
        "slices_remade": comes_to.slices,
        "anew": comes_to.anew,
        "hours_wait": comes_to.hours_wait,
        "refused": comes_to.refused,
    }
    texts = [
        f"{each.path}: {_short(each.before)} -> {_short(each.after)}\n"
        f"    {', '.join(rule.effects)}: {rule.why}"
        for each, rule in rows
    ]
    say(result, "\n".join([*texts, *_comes_to(comes_to, is_same=not found)]), as_json=as_json)


def _trained_with(new: "Deployment") -> "Deployment":
    """The configuration, with the declaration of the newest checkpoint."""
    from twintide.checkpoints import list_checkpoints
    from twintide.errors import Refused

    made = list_checkpoints(new.checkpoints_dir)
    if not made:
        raise Refused(
            f"there is no checkpoint in {new.checkpoints_dir}, so nothing goes on from one",
            hint="--against names another configuration to compare with",
        )
    newest = made[-1]
    kafka = new.kafka.model_copy(update={"topic": newest.topic or new.kafka.topic})
    before = {"events": newest.events, "model": newest.model.placeless(), "kafka": kafka}
    return new.model_copy(update=before)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _comes_to(comes_to: "Outcome", *, is_same: bool) -> "Iterator[str]":
    if is_same:
        yield "the two are the same"
        return
    if comes_to.refused:
        yield f"Training refuses it, for {', '.join(comes_to.refused)}, before anything is written."
        return
    if comes_to.slices:
        yield "Slices are made anew from the shards by the next run; the old ones stay."
    yield from (f"Begins anew: {each}" for each in comes_to.anew)
    if comes_to.hours_wait:
        yield "Hourly passes wait for the next nightly retrain, which begins it."
    if not comes_to.slices and not comes_to.anew:
        yield "All that was learnt goes on."
