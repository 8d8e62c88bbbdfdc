"""What every policy at work can do, whatever it is."""

from datetime import datetime
from typing import Protocol

from evaluation.clicked import Clicked
from evaluation.metrics import Scoreboard
from evaluation.policies import Policy
from twintide.keys import Keys


class Runner(Protocol):
    """One policy at work."""

    policy: Policy
    board: Scoreboard
    train_seconds: float
    versions: int

    def tick(self, now: datetime) -> None:
        """Do what is due at `now`, with nothing but the clicks before it."""

    def lists(self, clicked: Clicked) -> Keys:
        """uint64 [B, DEPTH]: the list of each click, best first, 0 where there is nothing more."""
