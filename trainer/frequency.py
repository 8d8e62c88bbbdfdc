"""What Q is: how probable it is that an item is a candidate of a batch, estimated from the stream.

Streaming frequency estimation (Yi et al., RecSys 2019, algorithms 2 and 3). A batch has one column
per distinct item, so Q is the probability that the item appears in a batch at all: 1 / mean gap
between the batches that held it. It follows popularity as that changes. Two things are changed. A
first sighting ends no gap: until the second one an item counts as the batch's others do. And until
an item has been seen 1 / α times its gap is the plain mean so far, where a constant α would let one
sample of high variance rule every rare item.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twintide.arrays import Arrays
from twintide.keys import Keys, mixed

SLOTS = 1 << 17
SALTS = (np.uint64(0xA0761D6478BD642F), np.uint64(0xE7037ED1A0B428DB))
"""One hash function for each."""


@dataclass
class FrequencyEstimator:
    """Arrays A (last step that held the slot) and B (mean gap), one pair per hash function."""

    learning_rate: float
    step: int
    last_step: npt.NDArray[np.int64]
    """A, [hashes, slots]; 0 for a slot never seen."""

    mean_gap: npt.NDArray[np.float32]
    """B, [hashes, slots]."""

    sightings: npt.NDArray[np.int32]
    """[hashes, slots]: one more than the gaps that the mean is of."""

    @classmethod
    def fresh(cls, *, learning_rate: float = 0.05, slots: int = SLOTS) -> "FrequencyEstimator":
        """`slots` is a power of two, some times the number of items."""
        shape = (len(SALTS), slots)
        return cls(
            learning_rate,
            step=0,
            last_step=np.zeros(shape, np.int64),
            mean_gap=np.zeros(shape, np.float32),
            sightings=np.zeros(shape, np.int32),
        )

    def observe(self, item_keys: Keys) -> npt.NDArray[np.float32]:
        """Take the distinct items of the next batch; returns log Q of each, float32 [U]."""
        self.step += 1
        widest = np.zeros(len(item_keys), np.float32)
        is_new = np.zeros(len(item_keys), bool)
        for hash_number in range(len(SALTS)):
            slots = self._slots(item_keys, hash_number)
            gap = (self.step - self.last_step[hash_number, slots]).astype(np.float32)
            gaps = self.sightings[hash_number, slots]
            before = self.mean_gap[hash_number, slots]
            share = np.maximum(self.learning_rate, 1.0 / np.maximum(gaps, 1)) * (gaps > 0)
            mean = (before + share * (gap - before)).astype(np.float32)
            self.mean_gap[hash_number, slots] = mean
            self.last_step[hash_number, slots] = self.step
            self.sightings[hash_number, slots] = gaps + 1
            # A collision can only shrink a gap, so the widest of the hashes is nearest the truth.
            widest = np.maximum(widest, mean)
            is_new |= gaps == 0
        log_q = -np.log(np.maximum(widest, 1.0))
        if is_new.any() and not is_new.all():
            log_q[is_new] = log_q[~is_new].mean()
        return log_q

    def expected(self, item_keys: Keys) -> npt.NDArray[np.float32]:
        """Log Q of items that the batch just observed does not hold, float32 [n]; changes nothing.

        A gap that is still open counts once it is longer than the mean: what is clicked no more is
        ever less probable. An item that no batch has held was missed by all of them.
        """
        widest = np.zeros(len(item_keys), np.float32)
        for hash_number in range(len(SALTS)):
            slots = self._slots(item_keys, hash_number)
            gap = (self.step - self.last_step[hash_number, slots]).astype(np.float32)
            gaps = self.sightings[hash_number, slots]
            before = self.mean_gap[hash_number, slots]
            share = np.maximum(self.learning_rate, 1.0 / np.maximum(gaps, 1))
            mean = before + share * np.maximum(gap - before, 0.0)
            widest = np.maximum(widest, np.where(gaps == 0, self.step + 1, mean))
        return -np.log(np.maximum(widest, 1.0)).astype(np.float32)

    def _slots(self, item_keys: Keys, hash_number: int) -> npt.NDArray[np.int64]:
        slots = mixed(item_keys ^ SALTS[hash_number]) & np.uint64(self.mean_gap.shape[1] - 1)
        return slots.astype(np.int64)

    def arrays(self) -> Arrays:
        return {
            "estimator.step": np.array([self.step]),
            "estimator.last_step": self.last_step,
            "estimator.mean_gap": self.mean_gap,
            "estimator.sightings": self.sightings,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, learning_rate: float = 0.05) -> "FrequencyEstimator":
        return cls(
            learning_rate,
            step=int(arrays["estimator.step"][0]),
            last_step=arrays["estimator.last_step"].astype(np.int64),
            mean_gap=arrays["estimator.mean_gap"].astype(np.float32),
            sightings=arrays["estimator.sightings"].astype(np.int32),
        )
