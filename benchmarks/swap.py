"""What versions cost: to publish, to load, to swap in a server that follows, to go back.

    python -m benchmarks.swap [--users 1000000] [--items 200000] [--hours 2] [--tree TREE]...

A night of so many users and items and some hours of 20,000 clicks are made once, as
`benchmarks.hourly` has them. Then each tree of the program publishes a copy of the folder of
checkpoints, each step in a process of its own, in turns. Printed of each: seconds of the clock and
of the processor, by how much memory grew at its peak over what was there with everything imported
(what is mapped and clean is counted apart: it is given back when others want it), and bytes that
are new on the disk.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STEPS = ("publish 1", "publish 2", "publish 3", "load", "swap", "rollback")


def main() -> None:
    """Make the line, let the trees take turns, print a table."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--users", type=int, default=1_000_000)
    arguments.add_argument("--items", type=int, default=200_000)
    arguments.add_argument("--hours", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--tree", type=Path, action="append")
    arguments.add_argument("--step", nargs=2, metavar=("STEP", "FOLDER"))
    arguments.add_argument("--at", type=Path, help="Keep the line here, and use it again.")
    chosen = arguments.parse_args()
    if chosen.step:
        print(json.dumps(step(*chosen.step)))
        return
    with tempfile.TemporaryDirectory() as folder:
        line = chosen.at or Path(folder) / "line"
        if not line.exists():
            make(line, chosen)
        compare(line, Path(folder), chosen)


def make(line: Path, chosen: argparse.Namespace) -> None:
    """A night and some hours, whose checkpoints are what versions are made of."""
    from benchmarks import hourly  # noqa: PLC0415  not what a step is to import

    line.mkdir(parents=True)
    given = argparse.Namespace(clicks=20_000, hours=chosen.hours, items=chosen.items, profile=False)
    hourly.hours(line, chosen.users, given)


def compare(line: Path, folder: Path, chosen: argparse.Namespace) -> None:
    """Each step by each tree in turn; medians, with the lowest and the highest."""
    trees = chosen.tree or [ROOT]
    found: dict[tuple[str, Path], list[dict[str, float]]] = {}
    from twintide.files import share_file  # noqa: PLC0415

    for _ in range(chosen.rounds):
        for tree in trees:
            shutil.copytree(
                line,
                folder / "data",
                copy_function=lambda old, new: share_file(Path(old), Path(new)),
            )
            for name in STEPS:
                command = [str(Path(__file__)), "--step", name, str(folder / "data")]
                told = in_a_process_of(tree, command)
                found.setdefault((name, tree), []).append(told)
            shutil.rmtree(folder / "data")
    for (name, tree), each in sorted(found.items(), key=lambda one: STEPS.index(one[0][0])):
        said = [f"{key} {_spread([one[key] for one in each])}" for key in each[0]]
        print(f"{tree.name:10} {name:10}", *said, sep="  ", flush=True)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def in_a_process_of(tree: Path, command: list[str]) -> dict[str, float]:
    """What a script tells in its last line, run by that tree of the program."""
    command = [sys.executable, "-P", *command]
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603
    told: dict[str, float] = json.loads(done.stdout.strip().split("\n")[-1])
    return told


def step(name: str, folder: str) -> dict[str, float]:
    """Do one step here; only what every tree has is used."""
    from publisher.publish import publish  # noqa: PLC0415
    from publisher.reader import load_version  # noqa: PLC0415
    from publisher.registry import rollback  # noqa: PLC0415
    from serving.follower import Follower  # noqa: PLC0415
    from twintide import config  # noqa: PLC0415
    from twintide.checkpoints import checkpoint_names  # noqa: PLC0415
    from twintide.clock import SystemClock  # noqa: PLC0415
    from twintide.telemetry import configure_logging  # noqa: PLC0415
    from twintide.versions import version_names  # noqa: PLC0415

    configure_logging(level=40)
    quickstart = config.load(ROOT / "configs" / "quickstart.yaml")
    deployment = config.fill_in(quickstart, {"data_dir": folder})
    root, clock = deployment.versions_dir, SystemClock()

    def published() -> None:
        names = sorted(checkpoint_names(deployment.checkpoints_dir), key=lambda one: one[-6:])
        made = names[int(name[-1]) - 1]
        publish(deployment, checkpoint=made, clock=clock, judge=False)

    follower = Follower(root, clock=clock, max_k=100, poll_seconds=1.0)

    def back() -> None:
        rollback(root, to=version_names(root)[-2], reason="measured", clock=clock)

    if name == "load":
        return measured(lambda: load_version(root, version_names(root)[-1]), root)
    if name == "rollback":
        return measured(back, root)
    if name == "swap":
        from twintide.files import publish_file  # noqa: PLC0415
        from twintide.versions import STATE, read_state  # noqa: PLC0415

        state = read_state(root)
        before = state.model_copy(update={"current": version_names(root)[-2]})
        publish_file(root / STATE, before.to_json())
        follower.look()
        held = follower.standing.retriever
        publish_file(root / STATE, state.to_json())
        told = measured(follower.look, root)
        if held is None or follower.standing.switches != 2:  # noqa: PLR2004
            raise SystemExit(str(follower.standing))
        return told
    return measured(published, root)


def measured(run: Callable[[], Any], root: Path) -> dict[str, float]:
    """Seconds, MB of memory at the peak over before, and MB that are new on the disk."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, inodes = _memory(), _inodes(root)
    began, processor = time.perf_counter(), time.process_time()
    kept = run()
    seconds, of_processor = time.perf_counter() - began, time.process_time() - processor
    after = _memory()
    new = {inode: size for inode, size in _inodes(root).items() if inode not in inodes}
    del kept
    return {
        "s": seconds,
        "cpu s": of_processor,
        "peak MB": (after["VmHWM"] - before["VmRSS"]) / 1e3,
        "kept MB": (after["RssAnon"] - before["RssAnon"]) / 1e3,
        "was MB": before["RssAnon"] / 1e3,
        "new MB": sum(new.values()) / 1e6,
    }


def _memory() -> dict[str, float]:
    lines = Path("/proc/self/status").read_text().split("\n")
    pairs = [line.split(":") for line in lines if line.startswith(("Vm", "Rss"))]
    return {name: float(value.split()[0]) for name, value in pairs}


def _inodes(root: Path) -> dict[int, int]:
    """Of all files of versions, but those that checkpoints have too."""
    below = [root, root.parent / "checkpoints"] if root.is_dir() else [root.parent / "checkpoints"]
    paths = [path for each in below for path in each.rglob("*") if path.is_file()]
    return {path.stat().st_ino: path.stat().st_size for path in paths}


if __name__ == "__main__":
    main()
