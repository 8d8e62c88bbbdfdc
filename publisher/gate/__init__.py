"""The gate: what a version must show before it may be promoted.

First the mechanics, which need no clicks: sound vectors, an index that says what the towers say,
enough items, no step back in time. Then recall, draft beside live, on the newest clicks that
neither of them has learnt. What could not be judged is said, never guessed.
"""

from publisher.gate.mechanics import mechanics
from publisher.gate.recall import Recall, compare, hits, paired_z, recall_reasons
from publisher.gate.verdict import judge

__all__ = ["Recall", "compare", "hits", "judge", "mechanics", "paired_z", "recall_reasons"]
