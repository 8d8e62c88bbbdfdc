"""A process that changes the serving state, publishes and collects at random: ROOT SEED COUNT.

Prints [generation, action, what is live or was pinned] for every change that it was told had taken
effect.
"""

import json
import logging
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from publisher import gc, registry
from publisher.publish import publish
from tests.publisher import checkpoint_fixture as made
from twintide.clock import SystemClock
from twintide.errors import Refused, Retryable
from twintide.telemetry import configure_logging
from twintide.versions import ServingState


def change(root: Path, rng: random.Random) -> ServingState | None:
    """None where it is not told what came of it: a publish promotes, or does not."""
    match rng.randrange(9):
        case 0:
            gc.run(made.deployment_at(root.parent, publishing={"keep_versions": 1}))
        case 1:
            again = f"hourly-{rng.randint(1, 3):06d}"
            deployment = made.deployment_at(root.parent)
            publish(deployment, checkpoint=again, clock=SystemClock(), judge=False)
        case _:
            return of_the_state(root, rng)
    return None


def of_the_state(root: Path, rng: random.Random) -> ServingState:
    clock = SystemClock()
    name = f"v00000{rng.randint(1, 3)}"
    match rng.randrange(7):
        case 0:
            return registry.hold(root, reason="rival", clock=clock)
        case 1:
            return registry.rollback(root, to=name, reason="rival", clock=clock)
        case 2 | 3:
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
            state = change(root, rng)
        except (Refused, Retryable):
            continue
        if state is None:
            continue
        last = state.history[-1]
        told = last.version or state.current
        print(json.dumps([state.generation, last.action, told]))  # noqa: T201


main()
