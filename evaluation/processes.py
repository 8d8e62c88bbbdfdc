"""The shares of an evaluation, each driven by a process of its own.

What a process has done is what it has kept: it says only how far it came, and whoever asked reads
the rest. It ends with the one who began it, however that one ends, and leaves what goes on.
"""

import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Thread
from typing import cast

import torch

from evaluation.driving import drive
from evaluation.lanes import THREADS, Scoring, lanes_of
from evaluation.policies import Policy
from evaluation.shares import Share, shares_of
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused, Retryable, TwintideError, Unknown
from twintide.telemetry import configure_logging

Step = tuple[int, int]
"""Number of a way in a share, and of a tick that is done."""

_KINDS = (Retryable, Refused, Corrupt, Unknown)


@dataclass(frozen=True)
class Asked:
    """What is evaluated, as every process is told."""

    deployment: Deployment
    policies: Sequence[Policy]
    scoring: Scoring
    folder: Path
    processes: int | None = 1
    """At once; None: as many as are worth it."""

    def shares(self, number: int = 0) -> list[Share]:
        """Who does what. Each process has slices of its own: those of the one with this number."""
        lanes = lanes_of(
            self.deployment,
            self.policies,
            self.scoring,
            folder=self.folder,
            slices=self.folder / f"slices-{number}",
        )
        return shares_of(lanes, processes=self.processes)


def driven(share: Share, scoring: Scoring) -> Iterator[Step]:
    """Drive it in this process. It keeps to one thread: cores are for processes, and figures are
    the same however many there are.
    """
    torch.set_num_threads(THREADS)
    for number, way in enumerate(share):
        for tick in drive(way.alone(), scoring):
            yield number, tick


def at_once(asked: Asked, processes: int) -> Iterator[tuple[int, Step]]:
    """Drive all shares, each in a process; yields the number of a share with each step of it. What
    one refuses is raised here, and ends the others. Raises Retryable where one was killed.
    """
    with _begun(asked, processes) as begun:
        waiting = {heard: number for number, (_, heard) in enumerate(begun)}
        while waiting:
            for heard in wait(list(waiting)):
                connection = cast("Connection", heard)
                number = waiting[connection]
                try:
                    said = connection.recv()
                except EOFError:
                    del waiting[connection]
                    _check_ended(begun[number][0])
                else:
                    if isinstance(said, Exception):
                        raise said
                    yield number, said


def _check_ended(process: SpawnProcess) -> None:
    process.join()
    code = process.exitcode or 0
    if code < 0:
        raise Retryable(
            f"a process of the evaluation was ended by {signal.Signals(-code).name}",
            hint="where memory was short, `--processes 1` takes least; the same command goes on",
        )
    if code:
        raise RuntimeError("a process of the evaluation failed: its traceback is above")


Begun = list[tuple[SpawnProcess, Connection]]


@contextmanager
def _begun(asked: Asked, processes: int) -> Iterator[Begun]:
    spawn = multiprocessing.get_context("spawn")
    begun: Begun = []
    try:
        for number in range(processes):
            heard, says = spawn.Pipe(duplex=False)
            process = spawn.Process(target=_work, args=(asked, number, says), daemon=True)
            with _ignored(signal.SIGINT):  # Ctrl-C is for whoever asked, who ends the others
                process.start()
            says.close()  # so that its end is heard
            begun.append((process, heard))
        yield begun
    finally:
        for process, _ in begun:
            process.terminate()
        for process, _ in begun:
            process.join()


@contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    """A process that is begun within the block does not hear the signal."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def _work(asked: Asked, number: int, says: Connection) -> None:
    """A process, from its beginning to its end. A signal ends it at once, as a crash may."""
    Thread(target=_end_with_parent, daemon=True).start()
    configure_logging(as_json=False, level=logging.WARNING)
    try:
        for step in driven(asked.shares(number)[number], asked.scoring):
            says.send(step)
    except TwintideError as error:
        says.send(_of_kind(error))
    except OSError as error:
        says.send(error)


def _of_kind(error: TwintideError) -> TwintideError:
    """As plain as another process can be told."""
    kind = next((each for each in _KINDS if isinstance(error, each)), TwintideError)
    return kind(error.message, hint=error.hint)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)  # as a crash, which leaves what goes on
