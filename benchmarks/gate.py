"""How many clicks the gate needs to see a fall, and how often it takes chance for one.

    python -m benchmarks.gate [--trials 1000]

Two versions find each click with some probability, more often the same clicks than not, as the
versions of two hours do: of what one finds, the other one finds four in five at most. The last
column has five clicks of each user, of which four go the same way.
"""

import argparse
from dataclasses import dataclass

import numpy as np

from publisher.gate import power
from publisher.gate.difference import Bools, Users, chance_of

ALLOWED = 0.2
RECALLS = (0.05, 0.2, 0.5)
DROPS = (0.0, 0.25, 0.3, 0.4, 0.6, 0.8)
CLICKS = (200, 500, 1_000, 2_000, 5_000)
ALIKE = 0.8
"""Share of a user's clicks that go the same way, where a user has several."""

SHARED = 0.8
"""Of what the draft finds, the share that the live version finds too."""


@dataclass(frozen=True)
class Stream:
    """Hits of a live version that finds `recall` of all clicks, and of a draft below it."""

    recall: float
    drop: float
    per_user: int = 1

    def drawn(self, rng: np.random.Generator, clicks: int) -> tuple[Bools, Bools, Users]:
        """Draft, live, and who clicked."""
        users = np.arange(clicks, dtype=np.uint64) // np.uint64(self.per_user)
        own = self.recall * (1 - self.drop)
        both = own * SHARED
        lot = rng.random(clicks)
        if self.per_user > 1:
            of_user = np.repeat(rng.random(int(users[-1]) + 1), self.per_user)[:clicks]
            lot = np.where(rng.random(clicks) < ALIKE, of_user, lot)
        draft = lot < own
        live = (lot < both) | ((lot >= own) & (lot < own + self.recall - both))
        return draft, live, users

    def refused(self, clicks: int, trials: int) -> float:
        """Share of trials in which the gate refuses the draft."""
        rng = np.random.default_rng(1)
        found = 0
        for _ in range(trials):
            draft, live, users = self.drawn(rng, clicks)
            is_less = draft.mean() < (1 - ALLOWED) * live.mean()
            net = np.bincount(users.astype(np.int64), live.astype(np.int64) - draft).astype(
                np.int64
            )
            found += bool(is_less) and chance_of(net) <= power.MAY_BE_CHANCE
        return found / trials

    def needed(self) -> int:
        """Clicks on which it is refused in 9 of 10 cases, as the report says."""
        own = self.recall * (1 - self.drop)
        changed = self.recall + own - 2 * own * SHARED
        return power.clicks_needed(
            self.recall, changed=changed, crowding=1.0, fall=self.drop, allowed=ALLOWED
        )


def main() -> None:
    """Print one table per recall."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000)
    trials = parser.parse_args().trials
    heads = [f"{clicks:,} clicks" for clicks in CLICKS]
    print("| recall | worse by | " + " | ".join(heads) + " | needed | 1,000, five a user |")
    print("|---|---|" + "---|" * (len(CLICKS) + 2))
    for recall in RECALLS:
        for drop in DROPS:
            stream = Stream(recall, drop)
            shares = [f"{stream.refused(clicks, trials):.1%}" for clicks in CLICKS]
            needed = f"{stream.needed():,}" if drop > ALLOWED else "–"
            crowded = f"{Stream(recall, drop, per_user=5).refused(1_000, trials):.1%}"
            cells = [f"{recall:.2f}", f"{drop:.0%}", *shares, needed, crowded]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
