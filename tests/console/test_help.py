"""Each command explains itself."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from console.commands import app

ROOT = Path(__file__).parents[2]
LIGHT = ("torch", "faiss", "kafka", "matplotlib", "pyarrow", "apscheduler", "fastapi")

INTERFACE = {
    *("demo", "broker", "ingest", "replay", "events"),
    *(
        "train",
        "train hourly",
        "train nightly",
        "train backfill",
        "train schedule",
        "rewind",
        "checkpoints",
        "rebuild",
    ),
    *("publish", "versions", "show", "diff", "verify", "gc", "rollback", "hold", "release"),
    *("refresh", "pin", "unpin", "block", "unblock", "blocked"),
    *("recommend", "serve", "evaluate", "status"),
    *("config", "config new", "config check", "config show", "config diff"),
}


def commands(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))


def all_commands() -> list[tuple[str, ...]]:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return list(commands(group))


def test_the_interface_that_stays_is_there() -> None:
    """No command that scripts rely on is missing, and none is there that nobody wrote down."""
    assert {" ".join(path) for path in all_commands()} == INTERFACE


@pytest.mark.parametrize("path", [(), *all_commands()], ids=" ".join)
def test_every_help_shows_an_example(path: tuple[str, ...]) -> None:
    """`--help` ends well and shows a command that one may copy."""
    done = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})

    assert done.exit_code == 0, done.output
    assert f"Example: twintide {' '.join(path)}" in done.output


def test_help_loads_nothing_heavy() -> None:
    """`twintide --help` answers at once: no model, index, broker client or plot is loaded."""
    code = "import sys, console.commands; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert set(done.stdout.split()).isdisjoint(LIGHT)
