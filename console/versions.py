"""What is published: `twintide publish`, `refresh`, `versions`, `show`, `diff`, `verify`, `gc`,
`rollback`, `hold`, `release`, `pin`, `unpin`.

Rolling back and holding need neither torch nor Faiss, and so are quick.
"""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.options import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigFile,
    Now,
    Reason,
    clock_at,
    deployment_of,
)
from streaming.items import read_items
from twintide.clock import SystemClock
from twintide.output import Listing, instant, number, plain, say, table, waiting

if TYPE_CHECKING:
    from publisher.gc import Plan
    from twintide.overview.versions import VersionRow
    from twintide.versions import GateReport, ServingState, VersionManifest

app = typer.Typer()
_PANEL = "Versions"
_REFUSED = 2


@app.command(rich_help_panel=_PANEL, epilog="Example: twintide publish -c twintide.yaml")
def publish(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="Default: the newest.")
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="Judge it first; without, you answer for it.")
    ] = True,
    now: Now = None,
    as_json: AsJson = False,
) -> None:
    """Build a version from a checkpoint, judge it, and make it live.

    Exits with 2 where the gate refused it; the version is kept for a look.
    """
    deployment = deployment_of(config)
    from publisher.publish import publish as run
    from twintide.versions import read_state

    clock = clock_at(now)
    read_items(deployment, clock)
    with waiting("building a version"):
        done = run(deployment, checkpoint=checkpoint, clock=clock, judge=gate)
    after = (
        f"next: `twintide recommend -c {config} --user-id ID`"
        if done.promoted
        else f"`twintide release -c {config}` lifts the hold; then publish again"
        if done.gate.passed and read_state(deployment.versions_dir).hold
        else f"next: `twintide show {done.version} -c {config}`"
    )
    say(done, [done.why, gate_line(done.gate), after], as_json=as_json)
    if not done.gate.passed:
        raise typer.Exit(_REFUSED)


@app.command(rich_help_panel=_PANEL, epilog="Example: twintide refresh -c twintide.yaml")
def refresh(
    *, config: ConfigFile = DEFAULT_CONFIG, now: Now = None, as_json: AsJson = False
) -> None:
    """Refresh what is live: its weights, with the statistics, histories and items of now.

    Nothing is learnt. Exits with 2 where the gate refused the version; it is kept for a look.
    """
    deployment = deployment_of(config)
    from console.train import refresh_and_tidy
    from trainer.counting import count

    clock = clock_at(now)
    read_items(deployment, clock)
    with waiting("counting"):
        counted = count(deployment, clock=clock)
    with waiting("building a version"):
        done = refresh_and_tidy(deployment, clock=clock)
    say(done, [counted.why, done.why, gate_line(done.gate)], as_json=as_json)
    if not done.gate.passed:
        raise typer.Exit(_REFUSED)


@app.command(rich_help_panel=_PANEL, epilog="Example: twintide versions -c twintide.yaml")
def versions(*, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the versions: what each is made of, and which is live."""
    deployment = deployment_of(config)
    from twintide.overview.versions import list_versions

    rows = list_versions(deployment)
    text = (
        versions_table(rows)
        if rows
        else f"there is no version yet; `twintide publish -c {config}` makes one"
    )
    say(rows, text, as_json=as_json)


@app.command(rich_help_panel=_PANEL, epilog="Example: twintide show v000012 -c twintide.yaml")
def show(
    version: Annotated[str, typer.Argument(metavar="V", help="Such as v000012.")],
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """All that is known of one version: its lineage, its files, what the gate found."""
    deployment = deployment_of(config)
    from twintide.overview.versions import show as run

    found = run(deployment, version)
    say(found, _facts(found), as_json=as_json)


@app.command(
    rich_help_panel=_PANEL, epilog="Example: twintide diff v000011 v000012 -c twintide.yaml"
)
def diff(
    before: Annotated[str, typer.Argument(metavar="V1", help="The older one.")],
    after: Annotated[str, typer.Argument(metavar="V2", help="The newer one.")],
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """What changed from one version to another."""
    deployment = deployment_of(config)
    from publisher.audit import diff as run

    found = run(deployment, before, after)
    came, went = _such_as(found.gained), _such_as(found.lost)
    items = (
        f"from {before} to {after}: {found.items_gained:,} items came{came}, "
        f"{found.items_lost:,} went{went}, {found.items_in_both:,} are in both; the mean cosine "
        f"between the old and the new vector of these is {number(found.mean_cosine, 4)}"
    )
    answers = (
        "of the first 100 items that the older one answers to sample queries, the newer one "
        f"answers {number(found.overlap, 4)}"
    )
    lines = [items, answers]
    if found.moved:
        moved = ", ".join(f"{each.item_id} ({each.cosine:.4f})" for each in found.moved)
        lines.append(f"moved most (cosine): {moved}")
    say(found, lines, as_json=as_json)


def _such_as(items: list[int | str]) -> str:
    return f" (such as {', '.join(map(str, items[:3]))})" if items else ""


@app.command(rich_help_panel=_PANEL, epilog="Example: twintide verify -c twintide.yaml")
def verify(
    version: Annotated[str | None, typer.Argument(metavar="[V]", help="Such as v000012.")] = None,
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Hash every byte of one version and ask it its sample queries; without V, of everything.

    Everything: the ledger of shards, the slices, the checkpoints and all versions. Exits with 1
    where anything is damaged.
    """
    deployment = deployment_of(config)
    from console.verify import verify_all, verify_version

    with waiting("verifying") as update:
        found = (
            verify_version(deployment, version)
            if version
            else verify_all(deployment, on_stage=lambda stage: update(f"verifying {stage}"))
        )
    lines = [f"{found.counted()}: {'sound' if found.is_sound else 'damaged'}"]
    lines += [f"{each.what}: {each.problem}" for each in found.breaches]
    say(plain(found) | {"sound": found.is_sound}, lines, as_json=as_json)
    if not found.is_sound:
        raise typer.Exit(1)


@app.command(rich_help_panel=_PANEL, epilog="Example: twintide gc -c twintide.yaml --dry-run")
def gc(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove versions, checkpoints, slices, vectors and listings that nothing needs any more.

    What is live, previous or could be rolled back to stays, and so does the newest of each kind.
    """
    deployment = deployment_of(config)
    from publisher.gc import run

    gone = run(deployment, dry_run=dry_run)
    names = [*gone.versions, *gone.checkpoints, *gone.vectors, *gone.listings, *_slices(gone)]
    names += gone.counts + gone.collections
    verb = "would go" if dry_run else "went"
    say(gone, f"{verb}: {', '.join(names)}" if names else f"nothing {verb}", as_json=as_json)


@app.command(
    rich_help_panel=_PANEL,
    epilog='Example: twintide rollback -c twintide.yaml --reason "CTR fell by half"',
)
def rollback(
    *,
    reason: Reason,
    config: ConfigFile = DEFAULT_CONFIG,
    to: Annotated[
        str | None, typer.Option(metavar="V", help="Default: what was live before.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve an earlier version again, and hold automatic promotion until `twintide release`."""
    root = _versions_dir(config)
    from publisher import registry

    state = registry.rollback(root, to=to, reason=reason, clock=SystemClock())
    say(
        _standing(state),
        f"serving {state.current} instead of {state.previous}; promotion is on hold: "
        f"`twintide release -c {config}` lifts it",
        as_json=as_json,
    )


@app.command(
    rich_help_panel=_PANEL, epilog='Example: twintide hold -c twintide.yaml --reason "big event"'
)
def hold(*, reason: Reason, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Stop automatic promotion. Versions are still built, judged and kept."""
    root = _versions_dir(config)
    from publisher import registry

    state = registry.hold(root, reason=reason, clock=SystemClock())
    say(
        _standing(state),
        f"promotion is on hold, {state.current or 'nothing'} stays live: "
        f"`twintide release -c {config}` lifts it",
        as_json=as_json,
    )


@app.command(rich_help_panel=_PANEL, epilog="Example: twintide release -c twintide.yaml")
def release(
    *, reason: Reason = "", config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False
) -> None:
    """Allow automatic promotion again. The next publish promotes."""
    root = _versions_dir(config)
    from publisher import registry

    state = registry.release(root, reason=reason, clock=SystemClock())
    say(
        _standing(state),
        f"promotion is allowed again, {state.current or 'nothing'} is live; "
        f"next: `twintide publish -c {config}`",
        as_json=as_json,
    )


@app.command(
    rich_help_panel=_PANEL,
    epilog='Example: twintide pin v000012 -c twintide.yaml --reason "before the new tower"',
)
def pin(
    version: Annotated[str, typer.Argument(metavar="V", help="Such as v000012.")],
    *,
    reason: Reason,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Keep a version: gc does not remove it until `twintide unpin`."""
    root = _versions_dir(config)
    from publisher import registry

    state = registry.pin(root, version, reason=reason, clock=SystemClock())
    say(
        _standing(state),
        f"{version} is pinned; `twintide unpin {version} -c {config}` lets gc take it again",
        as_json=as_json,
    )


@app.command(rich_help_panel=_PANEL, epilog="Example: twintide unpin v000012 -c twintide.yaml")
def unpin(
    version: Annotated[str, typer.Argument(metavar="V", help="Such as v000012.")],
    *,
    reason: Reason = "",
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Let gc take a pinned version when its turn comes."""
    root = _versions_dir(config)
    from publisher import registry

    state = registry.unpin(root, version, reason=reason, clock=SystemClock())
    say(_standing(state), f"{version} is pinned no more", as_json=as_json)


def versions_table(rows: "list[VersionRow]") -> Listing:
    """The list of versions for a person, the newest first."""
    return table(
        "",
        (
            *("version", "state", "checkpoint", "#items"),
            *("newest click (UTC)", "counted to (UTC)", "#recall (gate)"),
        ),
        [
            (
                row.name,
                row.standing(),
                row.checkpoint,
                f"{row.items:,}",
                instant(row.newest_event_at),
                instant(row.newest_counted_at),
                number(row.recall),
            )
            for row in reversed(rows)
        ],
    )


def gate_line(gate: "GateReport") -> str:
    """What the gate found, in one line."""
    found = "passed" if gate.passed else f"refused: {'; '.join(gate.reasons)}"
    if gate.recall is not None:
        found += f"; recall@{gate.k} {number(gate.recall)} on {gate.events:,} clicks"
    if gate.live_recall is not None:
        found += f", {gate.live} has {number(gate.live_recall)}"
    if gate.best_recall is not None:
        found += f", {gate.best} has {number(gate.best_recall)}"
    if gate.list_recall is not None:
        found += (
            f"; recall@{gate.floor_places} {number(gate.floor_recall)}, a list of the last hour "
            f"has {number(gate.list_recall)}"
        )
    if gate.index_recall is not None:
        found += f"; the index finds {gate.index_recall:.1%}"
    if gate.top_share is not None:
        found += f"; one item stands first for {gate.top_share:.0%} of users"
    return "; ".join((f"gate: {found}", *gate.notes))


def _facts(found: "VersionManifest") -> Listing:
    size_bytes = sum(each.bytes for each in found.files.values())
    rows: dict[str, object] = {
        "checkpoint": f"{found.checkpoint} ({found.kind}, on {found.base or 'no nightly'})",
        "trained nightly up to": found.day or "–",
        "newest click learnt (UTC)": instant(found.newest_event_at),
        "newest click counted (UTC)": instant(found.newest_counted_at),
        "refreshes": found.refreshes or "–",
        "position": ", ".join(f"{p}: {next_:,}" for p, next_ in sorted(found.position.items())),
        "items": f"{found.items:,} in a {found.index} index of width {found.dimension}",
        "idle items left out": f"{found.idle_items:,}",
        "source of items": _listing(found),
        "gate": gate_line(found.gate).removeprefix("gate: "),
        "files": f"{len(found.files)}, {size_bytes:,} bytes",
        "code version": found.code_version,
    }
    return table(found.name, ("", ""), rows.items())


def _listing(found: "VersionManifest") -> str:
    ref = found.listing
    if ref is None:
        return "none: what was ever clicked"
    clicked = f"{found.catalogue_items or 0:,} items were ever clicked"
    return f"{ref.name} of {instant(ref.read_at)}: {ref.listed:,} listed; {clicked}"


def _slices(gone: "Plan") -> list[str]:
    """Those of the own chain together: there are many."""
    own = [name for name in gone.slices if name.endswith(".parquet")]
    chains = [f"slices {name}" for name in gone.slices if name not in own]
    return [*([f"{len(own)} slices up to {own[-1]}"] if own else []), *chains]


def _standing(state: "ServingState") -> dict[str, Any]:
    return state.model_dump(mode="json", exclude={"history"})


def _versions_dir(config: Path) -> Path:
    return deployment_of(config).versions_dir
