"""`twintide checkpoints`, what training can go on from; `twintide rebuild`, one made again."""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

from dataclasses import dataclass
from datetime import date, datetime
from filecmp import cmpfiles
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.options import DEFAULT_CONFIG, AsJson, ConfigFile, deployment_of
from twintide.errors import Refused
from twintide.output import Listing, instant, number, say, table, waiting

if TYPE_CHECKING:
    from twintide.checkpoints import CheckpointManifest
    from twintide.config import Deployment

app = typer.Typer()
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Row:
    """One checkpoint, as a list of them shows it."""

    name: str
    line: str
    day: date | None
    base: str | None
    newest_event_at: datetime | None
    rows: int
    loss: float | None
    size_bytes: int
    """What it added to the disk: the files that it does not share with an older one."""

    state: str
    """head: the next run goes on from it; live: what is served is made of it."""


@app.command(rich_help_panel="Training", epilog="Example: twintide checkpoints -c twintide.yaml")
def checkpoints(*, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the checkpoints: what each has learnt, and which is the head, which is served.

    `twintide rewind --to CHECKPOINT` makes training go on from one of them.
    """
    deployment = deployment_of(config)
    rows = gather(deployment)
    nothing = f"there is no checkpoint yet; `twintide train nightly -c {config}` makes one"
    say(rows, _text(rows) if rows else nothing, as_json=as_json)


@app.command(
    rich_help_panel="Training",
    epilog="Example: twintide rebuild hourly-000012 --into again -c twintide.yaml",
)
def rebuild(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="`twintide checkpoints` lists them.")
    ],
    *,
    into: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the checkpoint made again is put.")
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Make a checkpoint again from its lineage, and compare the two byte by byte.

    Its parent, its slices and its seed are all that is read; nothing of the deployment changes.
    Exits with 1 where they differ, as they may with other code, threads or another machine.
    """
    deployment = deployment_of(config)
    from trainer.rebuild import rebuild as run

    target = into / checkpoint
    if into.resolve() == deployment.checkpoints_dir.resolve() or target.exists():
        raise Refused(
            f"{target} is there already", hint="--into names a folder that does not hold it"
        )
    with waiting(f"making {checkpoint} again"):
        run(deployment, checkpoint, into=into)
    differ = _differing(deployment.checkpoints_dir / checkpoint, target)
    text = (
        f"{target} differs from {checkpoint} in {', '.join(differ)}"
        if differ
        else f"{target} is the same as {checkpoint}, to the byte"
    )
    say({"path": target, "same": not differ, "differ": differ}, text, as_json=as_json)
    if differ:
        raise typer.Exit(1)


def _differing(before: Path, again: Path) -> list[str]:
    """Names of files that one of the two folders lacks, or that hold other bytes."""
    _, differ, missing = cmpfiles(before, again, _names_in(before) | _names_in(again), False)  # noqa: FBT003
    return sorted(differ + missing)


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def gather(deployment: "Deployment") -> list[Row]:
    """Every checkpoint, oldest first."""
    from twintide.checkpoints import list_checkpoints

    made = list_checkpoints(deployment.checkpoints_dir)
    served = _served(deployment)
    return [
        Row(
            name=each.name,
            line=each.kind,
            day=each.day,
            base=each.base,
            newest_event_at=each.newest_event_at,
            rows=each.rows,
            loss=each.loss,
            size_bytes=size_bytes,
            state=", ".join(
                word
                for word, is_so in (("head", each == made[-1]), ("live", each.name == served))
                if is_so
            ),
        )
        for each, size_bytes in zip(made, _added_bytes(made), strict=True)
    ]


def _added_bytes(made: "list[CheckpointManifest]") -> list[int]:
    """Of each: what of its files no older one has."""
    seen, found = set[tuple[str, str]](), []
    for each in made:
        new = {(name, entry.sha256): entry.bytes for name, entry in each.files.items()}
        found.append(sum(size for file, size in new.items() if file not in seen))
        seen |= new.keys()
    return found


def _served(deployment: "Deployment") -> str | None:
    """The checkpoint that the live version is made of."""
    from twintide.overview.versions import list_versions

    live = [row.checkpoint for row in list_versions(deployment) if row.state == "live"]
    return live[0] if live else None


def _text(rows: list[Row]) -> Listing:
    columns = ("checkpoint", "day", "base", "newest click", "#rows", "#loss", "#MiB", "state")
    return table(
        "",
        columns,
        [
            (
                each.name,
                each.day,
                each.base if each.base != each.name else None,
                instant(each.newest_event_at),
                f"{each.rows:,}",
                number(each.loss),
                f"{each.size_bytes / _MIB:,.1f}",
                each.state,
            )
            for each in reversed(rows)
        ],
    )
