"""How many clicks a second the learner takes, beside TorchRec and TensorFlow Recommenders.

    python -m benchmarks.peers make                 environments of the peers, once
    python -m benchmarks.peers [--batch-rows 512 …] [--rounds 7] [--times 3] [--mode nightly …]
    python -m benchmarks.peers --alone --users 100000 --users 1000000 --users 10000000

The clicks and the model are those of `benchmarks.train`; nightly everything learns, hourly the rows
of both ID tables only. Contestants take turns within one run, after a round that warms up. Printed
of each: clicks a second by the clock and by the processor time of all its threads, median
[lowest..highest] over the rounds; how many times as fast ours is, the median of the rounds' own
ratios; and the mean loss of the first round and of the last, which must have fallen. `--alone`: our
learner beside itself, with tables of other sizes. Where peers do less than ours does, the docstring
of their module says so.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.peers.clicks import Clicks
from benchmarks.peers.environments import FOLDER, PEERS, Place, make, places
from benchmarks.peers.turns import Contestant, Turn, contestant, in_turns
from benchmarks.train import CLICKS, Stream
from twintide.errors import Refused

MODES = ("nightly", "hourly")


def main() -> None:
    """Measure, or make the environments."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("what", nargs="?", choices=("measure", "make"), default="measure")
    arguments.add_argument("--environments", type=Path, default=FOLDER)
    arguments.add_argument("--peer", action="append", choices=PEERS, help="both by default")
    arguments.add_argument("--alone", action="store_true", help="no peers")
    arguments.add_argument("--users", type=int, action="append")
    arguments.add_argument("--items", type=int, default=50_000)
    arguments.add_argument("--batch-rows", type=int, action="append")
    arguments.add_argument("--mode", action="append", choices=MODES)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--times", type=int, default=3, help="that a turn learns all clicks")
    chosen = arguments.parse_args()
    peers = [] if chosen.alone else chosen.peer or PEERS
    if chosen.what == "make":
        for peer in peers:
            make(peer, chosen.environments)
        return
    found = places(chosen.environments)
    stage = {name: found[name] for name in ("ours", *peers)}
    for batch_rows in chosen.batch_rows or [512, 1024, 4096]:
        for mode in chosen.mode or MODES:
            _measure(stage, chosen, mode=mode, batch_rows=batch_rows)


def _measure(
    stage: Mapping[str, Place], chosen: argparse.Namespace, *, mode: str, batch_rows: int
) -> None:
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        contestants = []
        sizes = chosen.users or [200_000]
        for users in sizes:
            path = folder / f"{users}.npz"
            clicks_of(Stream(users=users, items=chosen.items)).save(path)
            words = ["--clicks", str(path), "--batch-rows", str(batch_rows), "--mode", mode]
            for name, place in stage.items():
                label = name if len(sizes) == 1 else f"{name}, {users:,} users"
                contestants.append(running.enter_context(contestant(label, place, words)))
        turns = in_turns(contestants, rounds=chosen.rounds, times=chosen.times)
    title = f"{mode}, batches of {batch_rows}"
    Console(width=140).print(_table(title, turns, contestants, clicks=CLICKS * chosen.times))
    for name, own in turns.items():
        if not own[-1].loss < own[0].loss:
            raise Refused(
                f"{name} learns nothing: its loss went from {own[0].loss} to {own[-1].loss}"
            )


def clicks_of(stream: Stream) -> Clicks:
    """The same clicks for those who know rows and log Q already."""
    shares = np.bincount(stream.item, minlength=stream.items) / CLICKS
    return Clicks(
        size=np.array([stream.users, stream.items]),
        user=stream.user,
        item=stream.item,
        history=stream.history,
        offsets=stream.offsets,
        statistics=stream.statistics,
        log_q=np.log(shares + 1e-9).astype(np.float32),
    )


def _table(
    title: str,
    turns: Mapping[str, Sequence[Turn]],
    contestants: Sequence[Contestant],
    *,
    clicks: int,
) -> Table:
    load = os.getloadavg()[0]
    table = Table(title=f"{title} (load at the end {load:.1f})")
    table.add_column("contestant")
    columns = ("clicks/s", "ours is so fast", "clicks/processor s", "ours is so fast", "loss")
    for column in columns:
        table.add_column(column, justify="right")
    first, *_ = turns
    for each in contestants:
        own = turns[each.name]
        of_rates = [
            cell
            for seconds in (_by_clock, _by_processor)
            for cell in (
                _spread([clicks / seconds(turn) for turn in own[1:]], "{:,.0f}"),
                _spread(_ratios(turns[first][1:], own[1:], seconds), "{:.2f}"),
            )
        ]
        versions = ", ".join(f"{name} {version}" for name, version in each.versions.items())
        losses = f"{own[0].loss:.2f} → {own[-1].loss:.2f}"
        table.add_row(f"{each.name} ({versions})", *of_rates, losses)
    return table


def _by_clock(turn: Turn) -> float:
    return turn.seconds


def _by_processor(turn: Turn) -> float:
    return turn.processor_seconds


def _ratios(
    ours: Sequence[Turn], own: Sequence[Turn], seconds: Callable[[Turn], float]
) -> list[float]:
    """Of each round."""
    return [seconds(one) / seconds(beside) for beside, one in zip(ours, own, strict=True)]


def _spread(values: Sequence[float], form: str) -> str:
    middle, lowest, highest = (
        form.format(each) for each in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} [{lowest}..{highest}]"


if __name__ == "__main__":
    main()
