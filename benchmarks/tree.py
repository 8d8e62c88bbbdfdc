"""What a benchmark asks of a tree of the program, this one or an older: make a version, answer.

    PYTHONPATH=TREE python -P benchmarks/tree.py build FOLDER ITEMS
    PYTHONPATH=TREE python -P benchmarks/tree.py answer FOLDER

Only what every tree has is used here. `answer` reads numbers: after each it answers so many
requests (k = 100), from their bytes to those of the answers, and writes the processor's seconds.
"""

import json
import sys
import time
from pathlib import Path

import torch

from benchmarks.recommend import configuration
from publisher.publish import publish
from publisher.reader import load_version
from serving.request import parse_request
from serving.retriever import Retriever
from tests.publisher import checkpoint_fixture as made
from twintide.clock import SystemClock
from twintide.config import load
from twintide.telemetry import configure_logging


def build(folder: Path, items: int) -> None:
    """One live version of so many items, and `twintide.yaml` for it."""
    config = folder / "twintide.yaml"
    config.write_text(json.dumps(configuration(folder / "data")))
    deployment = load(config)
    made.add_checkpoint(deployment, 1, items=made.item_range(0, items))
    publish(deployment, clock=SystemClock(), judge=False)


def answer(folder: Path) -> None:
    """Until nothing more is asked for."""
    torch.set_num_threads(1)
    version = load_version(folder / "data" / "versions", "v000001")
    retriever = Retriever(version, clock=SystemClock(), max_k=1000)
    users = range(made.USERS)
    bodies = [
        json.dumps({"user_id": user, "features": {"region": f"region {user % 5}"}}).encode()
        for user in users
    ]
    for line in sys.stdin:
        began = time.process_time()
        for number in range(int(line)):
            json.dumps(retriever.answer(parse_request(bodies[number % len(users)])).to_dict())
        print(time.process_time() - began, flush=True)


if __name__ == "__main__":
    configure_logging(level=40)
    command, at, *rest = sys.argv[1:]
    if command == "build":
        build(Path(at), int(rest[0]))
    else:
        answer(Path(at))
