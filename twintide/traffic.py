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

WINDOW_CLICKS = 1000
"""So many clicks tell what is in demand; a window that holds fewer tells chance."""

WINDOWS_MINUTES = (10, 60, 180, DAY_MINUTES, 7 * DAY_MINUTES, 30 * DAY_MINUTES)
WINDOWS = 4
"""Of item statistics, the shortest that hold enough."""

SLOW_DAY = 20_000
"""Clicks a day below which layers learn too little for what rows could say at once."""

TEMPERATURES = (0.1, 0.2, 0.5, 1.0)
SAID_BY_CLICKS = 250.0
"""A row that has learnt from few clicks is mostly chance, and says less beside popularity: at so
many clicks a day a similarity counts one.
"""

ROW_RATES = (0.01, 0.03, 0.1)
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

    @property
    def windows_minutes(self) -> tuple[int, ...]:
        """Those that hold enough clicks to tell what is in demand; at least the three longest."""
        a_minute = self.clicks_a_day / DAY_MINUTES
        told = [each for each in WINDOWS_MINUTES if each * a_minute >= WINDOW_CLICKS]
        return tuple(told[:WINDOWS]) if len(told) >= WINDOWS else WINDOWS_MINUTES[-3:]


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
