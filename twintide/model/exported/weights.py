"""The weights of a version by name, each of which is asked for with its shape."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from twintide.arrays import Arrays
from twintide.errors import Corrupt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """Those whose names begin with a prefix."""

    arrays: Arrays
    prefix: str
    taken: set[str] = field(default_factory=set)
    """Full names of all that was asked for so far."""

    def take(self, name: str, *shape: int) -> Floats:
        """float32 of that shape. Raises Corrupt where there is none."""
        full = self.prefix + name
        array = self.arrays.get(full)
        if array is None:
            raise Corrupt(f"there are no weights {full}")
        if array.dtype != np.float32 or array.shape != shape:
            raise Corrupt(f"{full} is {array.dtype} {array.shape}, and must be float32 {shape}")
        self.taken.add(full)
        return np.asarray(array, np.float32)

    def under(self, prefix: str) -> "Weights":
        """Those that begin with this as well."""
        return Weights(self.arrays, self.prefix + prefix, self.taken)

    def check_all_taken(self) -> None:
        """Raises Corrupt where there are some that nobody has asked for."""
        strangers = {name for name in self.arrays if name.startswith(self.prefix)} - self.taken
        if strangers:
            raise Corrupt(
                f"the weights hold {sorted(strangers)}, which the declared model does not have"
            )
