"""The gate: what a version must show before it may be promoted.

First the mechanics, which need no clicks: sound vectors, an index that says what the towers say
and finds what an exact search finds, enough items, no step back in time. Then, on the newest clicks
that nobody has learnt: recall beside the live version and the best before it, beside chance and a
plain list, and who is shown what. What could not be judged is said, never guessed.
"""

from publisher.gate.mechanics import mechanics
from publisher.gate.recall import can_be_asked, hits
from publisher.gate.refreshed import judge_refreshed
from publisher.gate.trial import Rivals
from publisher.gate.verdict import judge

__all__ = ["Rivals", "can_be_asked", "hits", "judge", "judge_refreshed", "mechanics"]
