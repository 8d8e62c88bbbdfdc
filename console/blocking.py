"""`twintide block | unblock | blocked`: items that no answer may hold, within seconds."""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

from typing import TYPE_CHECKING, Annotated

import typer

from console.options import DEFAULT_CONFIG, AsJson, ConfigFile, Reason, deployment_of
from twintide.clock import SystemClock
from twintide.output import Listing, instant, say, table

if TYPE_CHECKING:
    from twintide.blocklist import Blocklist, ItemId
    from twintide.config import Deployment

app = typer.Typer()
_PANEL = "Versions"
Items = Annotated[list[str], typer.Argument(metavar="ITEM...", help="Item ids.")]


@app.command(
    rich_help_panel=_PANEL, epilog='Example: twintide block 4711 4712 --reason "withdrawn"'
)
def block(
    items: Items, *, reason: Reason, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False
) -> None:
    """Let items be in no answer any more: servers leave them out within seconds, without a publish,
    whatever version is or comes live, until `twintide unblock`.
    """
    from twintide.blocklist import block as block_items

    deployment = deployment_of(config)
    ids = _ids(items, deployment)
    found = block_items(deployment.versions_dir, ids, reason=reason, clock=SystemClock())
    strange = _not_in_live(ids, deployment)
    within = f"servers leave them out within {deployment.serving.poll_seconds:g} s"
    lines = [f"blocked: {', '.join(items)}; {len(found.items):,} in all; {within}"]
    if strange:
        lines.append(f"not in the live version, so perhaps mistyped: {', '.join(strange)[:500]}")
    say(found.model_dump(mode="json", exclude={"seal"}), lines, as_json=as_json)


@app.command(rich_help_panel=_PANEL, epilog="Example: twintide unblock 4711")
def unblock(items: Items, *, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Let items that are blocked be in answers again."""
    from twintide.blocklist import unblock as unblock_items

    deployment = deployment_of(config)
    found = unblock_items(deployment.versions_dir, _ids(items, deployment))
    say(
        found.model_dump(mode="json", exclude={"seal"}),
        f"not blocked any more: {', '.join(items)}; {len(found.items):,} still are",
        as_json=as_json,
    )


@app.command(rich_help_panel=_PANEL, epilog="Example: twintide blocked --json")
def blocked(*, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the items that no answer may hold."""
    from twintide.blocklist import read_blocklist

    found = read_blocklist(deployment_of(config).versions_dir)
    say(found.model_dump(mode="json", exclude={"seal"}), _listing(found), as_json=as_json)


def _listing(found: "Blocklist") -> Listing | str:
    if not found.items:
        return "nothing is blocked"
    rows = [(str(each.item), instant(each.since), each.reason) for each in found.items]
    return table("", ("item", "since (UTC)", "reason"), rows)


def _not_in_live(ids: "list[ItemId]", deployment: "Deployment") -> list[str]:
    """Which of them the live version lacks; none where nothing is live, or it cannot be read."""
    from publisher.itemids import item_ids_of
    from twintide.errors import TwintideError
    from twintide.versions import read_state

    try:
        live = read_state(deployment.versions_dir).current
        known = set(item_ids_of(deployment.versions_dir, live).to_pylist()) if live else set(ids)
    except (TwintideError, OSError):
        return []
    return [str(each) for each in ids if each not in known]


def _ids(texts: list[str], deployment: "Deployment") -> "list[ItemId]":
    from serving.request import id_from_text

    events = deployment.events
    return [id_from_text(each, events, events.item, what="an item id") for each in texts]
