"""All commands of `twintide`, wired together."""

import re
from inspect import cleandoc
from typing import Annotated, Any, cast

import typer
from rich.markup import escape
from typer.core import TyperGroup

from console import (
    answers,
    blocking,
    changes,
    checkpoints,
    demo,
    evaluate,
    events,
    settings,
    status,
    stream,
    train,
    versions,
)
from twintide import __version__

app = typer.Typer(
    name="twintide",
    help="Keep a two-tower retrieval model fresh from a click stream.",
    epilog="Example: twintide demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
settings.config_app.command(epilog=changes.EXAMPLE)(changes.diff)
for part in (
    *(demo, stream, events, train, checkpoints),
    *(versions, blocking, answers, evaluate, status, settings),
):
    app.add_typer(part.app)


_ONE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")
"""Where the source wraps a line, and a terminal should not."""


def _version(asked: bool) -> None:  # noqa: FBT001  as typer calls it
    if asked:
        typer.echo(f"twintide {__version__}")
        raise typer.Exit


@app.callback()
def twintide(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version, then end."
        ),
    ] = False,
) -> None:
    """Keep a two-tower retrieval model fresh from a click stream."""
    del version  # is acted on before a command is looked for


def command() -> TyperGroup:
    """All commands. Their texts are plain words: what stands in brackets is no markup."""
    group = typer.main.get_command(app)
    _as_words(group)
    return cast("TyperGroup", group)


def _as_words(part: Any) -> None:
    for name in ("help", "short_help", "epilog"):
        if text := getattr(part, name, None):
            setattr(part, name, escape(_ONE_BREAK.sub(" ", cleandoc(text))))
    for inner in [*getattr(part, "params", ()), *getattr(part, "commands", {}).values()]:
        _as_words(inner)


def main() -> None:
    """Run the command that was typed."""
    command()(prog_name="twintide")
