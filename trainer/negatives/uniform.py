"""Any item of the catalogue, each as probable as the other."""

from dataclasses import dataclass

import numpy as np

from trainer.negatives.source import Doubles, chance_missed
from trainer.negatives.stock import Ints, Moment
from twintide.derived.catalogue import UNKNOWN
from twintide.negatives import Uniform


@dataclass(frozen=True)
class UniformDraws:
    """Row numbers of the catalogue, even."""

    declared: Uniform

    def draw(self, moment: Moment, generator: np.random.Generator) -> Ints:
        if not moment.known:
            return np.zeros(0, np.int64)
        return generator.integers(0, moment.known, self.declared.count)

    def log_missed(self, rows: Ints, moment: Moment) -> Doubles:
        can_be_drawn = (rows != UNKNOWN) & (rows < moment.known)
        return chance_missed(can_be_drawn / max(moment.known, 1), self.declared.count)
