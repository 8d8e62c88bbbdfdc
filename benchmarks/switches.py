"""What clients see of a thousand switches: failed and mixed answers, and how long they wait.

    python -m benchmarks.switches [--switches 1000] [--answers 100000] [--items 20000] [--pause 0.2]

One server process; four clients that ask without a pause and compare each answer with what its
version answers alone; two nights with three hours each, as deltas, in turns. Steady phases and
phases of fifty switches take turns. Printed: answers, failures, and p50 and p99 of both, with the
ratio. `--pause`: seconds between two switches, so that they are not all there is.
"""

import argparse
import socket
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

from tests.publisher import checkpoint_fixture as made
from tests.serving.conftest import Client
from tests.serving.switches import Checked, line_at, switch, tour
from tests.serving.test_rollback_under_load import Server, wait_until
from twintide.telemetry import configure_logging

SWITCHES_A_PHASE = 50
STEADY_SECONDS = 10.0


def main() -> None:
    """Measure, print."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--switches", type=int, default=1000)
    arguments.add_argument("--answers", type=int, default=100_000)
    arguments.add_argument("--items", type=int, default=20_000)
    arguments.add_argument("--pause", type=float, default=0.2)
    chosen = arguments.parse_args()
    configure_logging(level=40)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), chosen)


def measure(folder: Path, chosen: argparse.Namespace) -> None:
    """Take turns between steady phases and switches."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    clock = made.held_clock()
    line = line_at(folder, port, items=chosen.items, clock=clock)
    server = Server(line.config, port, log=folder / "log")
    wait_until(lambda: server.readiness() == 200, seconds=60)  # noqa: PLR2004  HTTP OK
    load = Checked(port, line.alone)
    with Client(port) as client:
        names = tour(line, chosen.switches)
        while phase := list(islice(names, SWITCHES_A_PHASE)):
            load.phase = "steady"
            time.sleep(STEADY_SECONDS)
            load.phase = "switching"
            for name in phase:
                switch(line, client, name, clock=clock)
                time.sleep(chosen.pause)
        load.phase = "steady"
        wait_until(lambda: load.answers >= chosen.answers, seconds=3600)
    load.stop()
    server.end()
    print_table(load, chosen.switches)


def print_table(load: Checked, switches: int) -> None:
    """Milliseconds, and what went wrong."""
    print(
        f"{switches:,} switches, {load.answers:,} answers of {len(load.versions)} versions: "
        f"{len(load.failed)} failed, {len(load.mixed)} mixed"
    )
    p99s = {}
    for phase, seconds in load.seconds.items():
        p99s[phase] = float(np.percentile(seconds, 99)) * 1000
        p50 = statistics.median(seconds) * 1000
        print(f"{phase:10} {len(seconds):9,} answers  p50 {p50:6.2f} ms  p99 {p99s[phase]:6.2f} ms")
    print(f"p99 while switching: {p99s['switching'] / p99s['steady']:.2f} of the steady one")


if __name__ == "__main__":
    main()
