"""A process that changes the serving state, publishes and collects at random: ROOT SEED COUNT.

Prints a JSON list for every change that it was told had taken effect: ["changed", generation,
action, what is live or was pinned, what was asked for], ["published", version, whether it was
promoted] or ["collected", versions that went].
"""

import json
import logging
import random
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from publisher import gc, registry
from publisher.publish import publish
from tests.publisher import checkpoint_fixture as made
from twintide.clock import SystemClock
from twintide.errors import Refused, Retryable
from twintide.telemetry import configure_logging
from twintide.versions import ServingState, version_names

CHECKPOINTS = 8
"""As many are there; gc keeps the three newest versions for a look, and takes others."""


def change(root: Path, rng: random.Random) -> list[Any]:
    match rng.randrange(9):
        case 0:
            going = gc.run(made.deployment_at(root.parent, publishing={"keep_versions": 1}))
            return ["collected", list(going.versions)]
        case 1 | 2:
            again = f"hourly-{rng.randint(1, CHECKPOINTS):06d}"
            deployment = made.deployment_at(root.parent)
            found = publish(deployment, checkpoint=again, clock=SystemClock(), judge=False)
            return ["published", found.version, found.promoted]
        case _:
            name = rng.choice([*version_names(root), "v000001"])
            asked = None if rng.random() < 0.3 else name
            after = of_the_state(root, rng, name, to=asked)
            last = after.history[-1]
            return ["changed", after.generation, last.action, last.version or after.current, asked]


def of_the_state(root: Path, rng: random.Random, name: str, *, to: str | None) -> ServingState:
    clock = SystemClock()
    match rng.randrange(8):
        case 0:
            return registry.hold(root, reason="rival", clock=clock)
        case 1 | 2:
            return registry.rollback(root, to=to, reason="rival", clock=clock)
        case 3:
            return registry.promote(root, name, clock=clock)
        case 4:
            return registry.pin(root, name, reason="rival", clock=clock)
        case 5:
            return registry.unpin(root, name, clock=clock)
        case _:
            return registry.release(root, clock=clock)


def main() -> None:
    root, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    configure_logging(level=logging.ERROR)  # or lines of a publish would be among the answers
    rng = random.Random(seed)
    for _ in range(count):
        try:
            print(json.dumps(change(root, rng)))  # noqa: T201
        except (Refused, Retryable):
            continue


if __name__ == "__main__":
    main()
