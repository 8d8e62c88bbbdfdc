"""The commands of `python -m publisher`.

A thin entry for scripts: results are JSON. Torch and Faiss load for seconds, so only the commands
that need them do.
"""

# ruff: noqa: PLC0415  the imports inside commands are what keeps a rollback fast

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from publisher import registry
from twintide.clock import SystemClock
from twintide.config import load
from twintide.telemetry import configure_logging
from twintide.versions import ServingState

if TYPE_CHECKING:
    from twintide.overview.versions import VersionRow

Config = Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")]
Reason = Annotated[str, typer.Option(help="Kept in the history.")]

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def publish(
    config: Config,
    checkpoint: Annotated[str | None, typer.Option(help="Default: the newest.")] = None,
    judge: Annotated[bool, typer.Option("--gate/--no-gate", help="Judge it first.")] = True,  # noqa: FBT002
) -> None:
    """Build a version from the newest checkpoint, judge it, make it live."""
    from publisher.publish import publish as publish_

    published = publish_(load(config), checkpoint=checkpoint, clock=SystemClock(), judge=judge)
    _say(dataclasses.asdict(published) | {"gate": published.gate.model_dump(mode="json")})
    if not published.gate.passed:
        raise typer.Exit(2)


@app.command()
def refresh(config: Config) -> None:
    """Make the newest count live: the live weights, with statistics of now."""
    from publisher.refresh import refresh as refresh_

    published = refresh_(load(config), clock=SystemClock())
    _say(dataclasses.asdict(published) | {"gate": published.gate.model_dump(mode="json")})
    if not published.gate.passed:
        raise typer.Exit(2)


@app.command()
def versions(config: Config) -> None:
    """List the versions."""
    from twintide.overview.versions import list_versions

    _say([_plain(row) for row in list_versions(load(config))])


@app.command()
def show(config: Config, name: str) -> None:
    """Show one version's manifest."""
    from twintide.overview.versions import show as show_

    _say(show_(load(config), name).model_dump(mode="json"))


@app.command()
def diff(config: Config, before: str, after: str) -> None:
    """Compare two versions."""
    from publisher.audit import diff as diff_

    _say(dataclasses.asdict(diff_(load(config), before, after)))


@app.command()
def verify(config: Config, name: Annotated[str | None, typer.Argument()] = None) -> None:
    """Hash every file and replay every sample query of one version, or of all."""
    from publisher.audit import verify as verify_

    found = verify_(load(config), name)
    _say(found)
    if any(found.values()):
        raise typer.Exit(1)


@app.command()
def rollback(
    config: Config,
    reason: Reason,
    to: Annotated[str | None, typer.Option(help="Default: what was live before.")] = None,
) -> None:
    """Serve an earlier version again, and hold automatic promotion."""
    root = load(config).versions_dir
    _say_state(registry.rollback(root, to=to, reason=reason, clock=SystemClock()))


@app.command()
def hold(config: Config, reason: Reason) -> None:
    """Stop automatic promotion."""
    _say_state(registry.hold(load(config).versions_dir, reason=reason, clock=SystemClock()))


@app.command()
def release(config: Config, reason: Reason = "") -> None:
    """Allow automatic promotion again."""
    _say_state(registry.release(load(config).versions_dir, reason=reason, clock=SystemClock()))


@app.command()
def pin(config: Config, name: str, reason: Reason) -> None:
    """Let gc keep a version."""
    _say_state(registry.pin(load(config).versions_dir, name, reason=reason, clock=SystemClock()))


@app.command()
def unpin(config: Config, name: str, reason: Reason = "") -> None:
    """Let gc take a pinned version when its turn comes."""
    _say_state(registry.unpin(load(config).versions_dir, name, reason=reason, clock=SystemClock()))


@app.command()
def gc(
    config: Config,
    dry_run: Annotated[bool, typer.Option(help="Only say what would go.")] = False,  # noqa: FBT002
) -> None:
    """Remove versions and checkpoints that nothing needs any more."""
    from publisher.gc import run

    _say(dataclasses.asdict(run(load(config), dry_run=dry_run)))


def _plain(row: "VersionRow") -> dict[str, Any]:
    gate = row.gate.model_dump(mode="json") if row.gate else None
    return dataclasses.asdict(row) | {"gate": gate}


def _say_state(state: ServingState) -> None:
    _say(state.model_dump(mode="json", exclude={"history"}))


def _say(result: Any) -> None:
    typer.echo(json.dumps(result, indent=1, default=str))


def main() -> None:
    """Run the command that was typed."""
    configure_logging()
    app()
