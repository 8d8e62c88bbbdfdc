"""A contestant's side: learn when told to, and say how long it took.

A request is one line, how many times to learn all clicks; an answer is one line of JSON. This runs
in the environments of others too: it needs numpy alone.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.peers.clicks import Clicks

THREADS = 2
WIDTH = 64
"""Numbers in a row of a table, and in what a tower gives."""

FIRST = 0.05
"""Numbers of a row that has not learnt are even in ± this, as those of the learner are."""


@dataclass(frozen=True)
class Task:
    """What a contestant is to learn."""

    clicks: Clicks
    batch_rows: int
    is_nightly: bool
    """Whether everything learns; else only the rows of both ID tables do."""


class Contestant(Protocol):
    """A model that learns."""

    def learn(self) -> Sequence[float]:
        """Learn all clicks once, in order; returns each batch's loss."""


def main(made: Callable[[Task], Contestant], versions: Mapping[str, str]) -> None:
    """Be the contestant that the command line asks for, until there are no more requests."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--clicks", type=Path, required=True)
    arguments.add_argument("--batch-rows", type=int, required=True)
    arguments.add_argument("--mode", choices=("nightly", "hourly"), required=True)
    chosen = arguments.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    clicks = Clicks.load(chosen.clicks)
    contestant = made(Task(clicks, chosen.batch_rows, chosen.mode == "nightly"))
    print(json.dumps({"versions": dict(versions)}), file=answers)
    for line in sys.stdin:
        print(json.dumps(_learnt(contestant, times=int(line))), file=answers)


def _learnt(contestant: Contestant, *, times: int) -> dict[str, float]:
    began, processor_began = time.monotonic(), time.process_time()
    losses = [loss for _ in range(times) for loss in contestant.learn()]
    return {
        "seconds": time.monotonic() - began,
        "processor_seconds": time.process_time() - processor_began,
        "loss": float(np.mean(losses)),
    }
