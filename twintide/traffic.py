"""What the pace of a stream says of its declaration, where the defaults are of a busier one.

The defaults are for some thousand clicks an hour. Where a day has no more than that, a night is a
handful of steps, a window of minutes holds nobody's clicks, and a row learns from a click a week.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twintide.clock import DAY_MS

DAY_MINUTES = 1440

STEPS_A_NIGHT = 30
"""A batch is halved where a night of small ones is fewer steps."""

SMALL_BATCH, SMALLEST_BATCH = 64, 32

SLOW_WINDOWS_MINUTES = (DAY_MINUTES, 7 * DAY_MINUTES, 30 * DAY_MINUTES)
"""Of item statistics of a slow stream: shorter ones hold too few clicks to tell but chance."""

SLOW_DAY = 4_000
"""Clicks a day below which layers learn too little for what rows could say at once: at 2,500 that
holds, at 5,900 no more (decision 42).
"""

TEMPERATURES = (0.1, 0.2, 0.5, 1.0)
SAID_BY_CLICKS = 250.0
"""A row that has learnt from few clicks is mostly chance, and says less beside popularity: at so
many clicks a day a similarity counts one.
"""

ROW_RATES = (0.01, 0.03)
CLICKS_OF_A_UNIT = 80_000.0
"""Clicks a day for which a row could move by one at a step: a tenth of them for the usual tenth."""

SHORTEST_SAMPLE_MS = DAY_MS // 8
FEWEST_CLICKS = 100


@dataclass(frozen=True)
class Traffic:
    """How many clicks a day has."""

    clicks_a_day: float

    @property
    def is_slow(self) -> bool:
        """Whether the defaults ask for more than there is."""
        return self.clicks_a_day < SLOW_DAY

    @property
    def batch_rows(self) -> int:
        """Clicks in one step of a slow stream."""
        is_enough = self.clicks_a_day >= STEPS_A_NIGHT * SMALL_BATCH
        return SMALL_BATCH if is_enough else SMALLEST_BATCH

    @property
    def needs_pool(self) -> bool:
        """Whether an hour has fewer clicks than a batch: a night's batches are of one hour each."""
        return self.clicks_a_day / 24 < self.batch_rows

    @property
    def temperature(self) -> float:
        """What similarities are divided by, of a slow stream."""
        return _nearest(SAID_BY_CLICKS / max(self.clicks_a_day, 1.0), TEMPERATURES)

    @property
    def row_learning_rate(self) -> float:
        """How far a row moves at a step: what one click of few says is learnt by heart else."""
        return _nearest(max(self.clicks_a_day, 1.0) / CLICKS_OF_A_UNIT, ROW_RATES)


def traffic_of(clicks_ms: npt.NDArray[np.int64]) -> Traffic | None:
    """Of a sample's clicks; None where these are too few, or of too short a time, to tell."""
    if len(clicks_ms) < FEWEST_CLICKS:
        return None
    length = int(clicks_ms.max() - clicks_ms.min())
    if length < SHORTEST_SAMPLE_MS:
        return None
    return Traffic(len(clicks_ms) * DAY_MS / length)


def _nearest(wanted: float, known: tuple[float, ...]) -> float:
    """The one that is off by the smallest factor."""
    return min(known, key=lambda each: abs(np.log(each / wanted)))
