"""Contestants as child processes, and how they take turns."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.environments import Place
from twintide.errors import Refused

STOP_SECONDS = 10


@dataclass(frozen=True)
class Turn:
    """What one contestant said after it had learnt."""

    seconds: float
    processor_seconds: float
    """Of all threads of its process."""

    loss: float
    """The mean over its batches."""


class Contestant:
    """A process that learns when it is asked to."""

    def __init__(self, name: str, process: "subprocess.Popen[str]", log: Any) -> None:
        self.name = name
        self._process, self._log = process, log
        self.versions: Mapping[str, str] = self._answer()["versions"]

    def learn(self, times: int) -> Turn:
        """Let it learn all clicks so many times, and wait for it."""
        if self._process.stdin is None:
            raise RuntimeError("it was started without a pipe")
        with suppress(BrokenPipeError):  # it is gone, which the answer tells
            self._process.stdin.write(f"{times}\n")
            self._process.stdin.flush()
        return Turn(**self._answer())

    def _answer(self) -> dict[str, Any]:
        """Raises Refused, with what it printed last, where it ended in place of answering."""
        if self._process.stdout is None:
            raise RuntimeError("it was started without a pipe")
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            said = self._log.read().strip().splitlines()
            raise Refused(
                f"{self.name} ended with {self._process.returncode} in place of an answer",
                hint="it said last: " + (said[-1] if said else "nothing"),
            )
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def contestant(name: str, place: Place, words: Sequence[str]) -> Iterator[Contestant]:
    """One that is ready; it ends when this does."""
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(  # noqa: S603  a contestant of this folder
            place.command(*words),
            env=place.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield Contestant(name, process, log)
        finally:
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()  # no more requests
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()


def in_turns(
    contestants: Sequence[Contestant], *, rounds: int, times: int
) -> dict[str, list[Turn]]:
    """What each said in each round, the first of which warms up and is kept too."""
    turns: dict[str, list[Turn]] = {each.name: [] for each in contestants}
    for _ in range(rounds + 1):
        for each in contestants:
            turns[each.name].append(each.learn(times))
    return turns
