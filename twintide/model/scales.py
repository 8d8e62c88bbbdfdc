"""What brings declared numbers, of features or of what a loss learns, to mean 0 and spread 1:
count, mean and spread of all that nightly retrains have seen, kept in the checkpoint. An hourly
pass changes nothing of it.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from twintide.arrays import Arrays
from twintide.errors import Corrupt
from twintide.features.dense import LARGEST
from twintide.ragged import Numbers

_PARTS = 3
"""Count, mean, sum of squared distances."""


class Scales:
    """For each feature or objective that is standardised: how many numbers were seen, their mean,
    and the sum of their squared distances from it.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._seen = {name: np.zeros(_PARTS, np.float64) for name in names}

    def observe(self, name: str, numbers: Numbers) -> None:
        """Take in more of them (Chan et al. 1979: two sets of moments put together)."""
        if name not in self._seen or not len(numbers):
            return
        values = numbers.values.astype(np.float64)
        more, mean = float(values.size), float(values.mean())
        squares = float(np.square(values - mean).sum())
        count, old_mean, old_squares = self._seen[name]
        total, apart = count + more, mean - old_mean
        self._seen[name] = np.array(
            [
                total,
                old_mean + apart * more / total,
                old_squares + squares + apart**2 * count * more / total,
            ]
        )

    def scaled(self, name: str, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Standardised where the feature is; as they are while nothing was seen."""
        if name not in self._seen:
            return values
        count, mean, squares = self._seen[name]
        if not count:
            return values
        spread = np.sqrt(squares / count) or 1.0
        return np.clip((values - mean) / spread, -LARGEST, LARGEST).astype(np.float32)

    def spread(self, name: str) -> float:
        """What a standardised number is multiplied by to be as it was; 1 while nothing was seen, or
        where it is not standardised.
        """
        count, _, squares = self._seen.get(name, np.zeros(_PARTS))
        return float(np.sqrt(squares / count) or 1.0) if count else 1.0

    def arrays(self) -> Arrays:
        """By name, as they stand in a checkpoint or version: `scale.<side>.<feature>`."""
        return {f"scale.{name}": seen for name, seen in self._seen.items()}

    def load(self, arrays: Arrays) -> None:
        """What `arrays` gave; what is not there stays unseen. Raises Corrupt."""
        for name in self._seen:
            array = arrays.get(f"scale.{name}")
            if array is None:
                continue
            if array.shape != (_PARTS,) or array.dtype != np.float64:
                raise Corrupt(f"scale.{name} is no count, mean and spread")
            self._seen[name] = array.astype(np.float64)
