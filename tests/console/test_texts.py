"""Words reach a person as they are, whatever the words, the terminal and the pipe."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from console import commands
from serving.request import RecommendRequest
from tests.console.conftest import ROOT, Twintide
from twintide.files import exclusive_lock

CLOSED_PIPE, INTERRUPTED = 141, 130
ODD = "[red]half[/red] [local] :bug: 100 %"


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **changes}


def on_terminal(code: str, *, columns: int = 80) -> str:
    """What a program writes to a terminal of that width."""
    ours, its = pty.openpty()
    env = environment(TERM="xterm", COLUMNS=str(columns))
    with subprocess.Popen([sys.executable, "-c", code], stdout=its, stderr=its, env=env) as process:
        os.close(its)
        said = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                said += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        process.wait()
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())


def test_the_version_is_told(twintide_process: Twintide) -> None:
    """`twintide --version` needs no command, and ends well."""
    done = twintide_process("--version")

    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"twintide \d+\.\d+\.\d+\n", done.out)


def declared(part: Any) -> Iterator[str]:
    yield part.help or ""
    yield part.epilog or ""
    yield from (getattr(each, "help", None) or "" for each in part.params)


def parts(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, group
    for name, each in getattr(group, "commands", {}).items():
        yield from parts(each, (*path, name))


def test_help_shows_every_word_that_is_written(
    twintide: Twintide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brackets too: `pip install "twintide[local]"` can be copied from `twintide broker --help`."""
    monkeypatch.setenv("COLUMNS", "400")
    for path, part in parts(typer.main.get_command(commands.app)):
        told = bare(twintide(*path, "--help").out)
        for text in declared(part):
            assert bare(text) in told
    assert 'pip install "twintide[local]"' in twintide("broker", "--help").out


def bare(text: str) -> str:
    return "".join(text.split())


def test_a_text_in_brackets_is_no_markup_in_progress_and_results() -> None:
    """On a terminal, where rich would colour it: file names, topics and reasons are the user's."""
    code = f"""
from twintide.output import command, heading, progress, say, table, waiting
text = {ODD!r}
with progress(text) as update:
    update(1, 2, text)
with waiting(text) as now:
    now(text + "!")
say({{}}, [text, heading(text), command(text), table(text, (text,), [(text,)])], as_json=False)
say({{"reason": text}}, "", as_json=True)
"""
    said = on_terminal(code, columns=200)

    assert said.count(ODD) >= 2 + 1 + 6
    assert said.count("half") == said.count("[red]half[/red] [local] :bug: 100 %")


@pytest.mark.long
def test_a_narrow_encoding_takes_every_result(twintide_process: Twintide, published: Path) -> None:
    """A dash becomes a hyphen, a letter that it lacks its number; JSON stays JSON."""
    twintide_process("hold", "--reason", "größer → 大")

    ascii_only, latin = {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}
    seen = twintide_process("status", env=ascii_only)
    assert (seen.code, seen.err) == (0, "")
    assert "gr\\xf6\\xdfer -> \\u5927" in seen.out
    assert "größer -> \\u5927" in twintide_process("status", env=latin).out
    held = twintide_process("status", "--json", env=ascii_only).json
    assert held["hold"] == "größer → 大"
    assert twintide_process("evaluate", "--help", env=ascii_only).code == 0


@pytest.mark.long
def test_a_reader_that_has_enough_ends_the_command_in_silence(published: Path) -> None:
    """`twintide versions | head -c 1`: no traceback, no complaint of Python's at its end."""
    for arguments in (["config", "show"], ["versions"], ["--help"]):
        nobody, pipe = os.pipe()
        os.close(nobody)
        done = subprocess.run(
            [sys.executable, "-m", "console", *arguments],
            cwd=published.parent,
            env=environment(),
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(pipe)
        assert done.returncode in {1, CLOSED_PIPE}
        assert done.stderr == ""


@pytest.mark.long
def test_a_full_disk_under_the_output_is_said(bare: Path) -> None:
    """Nothing is lost in silence: exit code 1 and one sentence."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "console", "config", "show"],
            cwd=bare.parent,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the system refuses: No space left on device")
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_ctrl_c_says_one_line_and_exits_130(bare: Path) -> None:
    """Whatever was at work; a daemon ends in order by itself, with 0."""
    code = """
from console import main
from twintide.overview import seen

def wait(*_, **__):
    print("at work", flush=True)
    input()

seen.gather = wait
main.run()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, "status"],
        cwd=bare.parent,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (INTERRUPTED, "", "ended by SIGINT\n")


@pytest.mark.parametrize("name", ["console", "streaming", "trainer", "publisher", "serving"])
def test_ctrl_c_while_a_program_loads_is_quiet(name: str) -> None:
    """From its first own import on: one line, 130, and nothing of Python's."""
    code = f"""
import os, runpy, signal, sys

class ThoughtBetterOfIt:
    def find_spec(self, wanted, *_):
        if wanted == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, ThoughtBetterOfIt())
runpy.run_module({name!r}, run_name="__main__", alter_sys=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "ended by SIGINT\n")


def test_ctrl_c_where_nothing_can_be_raised_is_not_forgotten() -> None:
    """Python drops what is raised in a finalizer; the end was asked for all the same."""
    code = """
import os, signal
from twintide import program

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(10):
            pass

def main():
    Dying()
    print("went on")

program.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "ended by SIGINT\n")


def test_a_log_is_lines_on_a_terminal_and_json_elsewhere() -> None:
    """For every daemon, without an option: whoever watches reads, whatever collects parses."""
    code = """
from twintide.telemetry import configure_logging, get_log
configure_logging()
get_log("ingest").info("shard_committed", rows=3)
"""
    env = environment()
    piped = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )

    assert json.loads(piped.stderr)["rows"] == 3
    assert re.search(r"\[info +\] shard_committed +rows=3", on_terminal(code, columns=200))


def test_what_a_library_warns_of_is_no_word_of_ours() -> None:
    """A path into its source helps nobody who typed a command; developers ask for it with -W."""
    code = """
import warnings
from twintide import program
program.run(lambda: warnings.warn("identical low and high ylims", UserWarning))
"""
    run = [sys.executable, "-c", code]
    quiet = subprocess.run(run, env=environment(), capture_output=True, text=True, check=True)
    asked = subprocess.run(
        [*run[:1], "-W", "default", *run[1:]],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert quiet.stderr == ""
    assert "identical low and high" in asked.stderr


def test_a_folder_that_cannot_be_made_is_said(twintide: Twintide, bare: Path) -> None:
    """--out below a file: one message with the path, and nothing else."""
    (bare.parent / "file").write_text("")
    (bare.parent / "clicks.csv").write_text("user_id,item_id,event_at\n")

    done = twintide("evaluate", "clicks.csv", "--out", "file/below")

    assert done.code == 1
    assert done.err.startswith("error: the system refuses: Not a directory: file/below")
    assert "hint:  name another place" in done.err


def test_a_second_broker_in_a_folder_is_refused_in_a_sentence(
    twintide: Twintide, tmp_path: Path
) -> None:
    """Kafka itself would print a stack of Scala."""
    with exclusive_lock(tmp_path / "kafka-data" / ".broker.lock", who="the first"):
        done = twintide("broker", "--port", "0")

    assert done.code == 2
    assert done.err.startswith("error: a broker runs in kafka-data already\nhint:  ")


def test_the_command_and_http_speak_of_the_same_things(twintide: Twintide, published: Path) -> None:
    """`user_id` and `k`: one name and one default each; --user is understood too."""
    one = twintide("recommend", "--user-id", "7", "--json").json
    other = twintide("recommend", "--user", "7", "--json").json

    assert one == other
    assert len(one["items"]) == RecommendRequest(user_id=7).wanted(max_k=1000)
