"""The day of the click world, in UTC: how busy its hours are, and which tastes hold at a moment."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
"""Unix milliseconds."""

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

PARTS = ("morning", "noon", "evening")
_PART_CENTRES_HOURS = np.array([7.5, 13.0, 20.5])
_PART_SHARPNESS = 5.0
"""A part passes into the next within about two hours."""

_BUSYNESS = np.array(
    [
        *(0.35, 0.22, 0.14, 0.10, 0.08, 0.12),  # night; 04:00 is the quiet hour
        *(0.28, 0.62, 0.95, 1.05, 1.10, 1.20),  # morning
        *(1.35, 1.30, 1.15, 1.10, 1.15, 1.30),  # afternoon
        *(1.55, 1.80, 1.90, 1.75, 1.30, 0.75),  # evening; 20:00 is the busiest
    ]
)


def share_of_day(hour: int) -> float:
    """Share of a day's traffic that falls into one UTC hour, 0 to 23; a day's shares sum to 1."""
    return float(_BUSYNESS[hour] / _BUSYNESS.sum())


def rate_at(mean_per_hour: float, at_ms: int) -> float:
    """What comes in the hour of a moment, of what comes so often in the mean hour of a day."""
    return mean_per_hour * 24 * share_of_day(at_ms // HOUR_MS % 24)


def part_weights(times: Times) -> Floats:
    """[n, 3]: how far each moment is morning, noon and evening; each row sums to 1."""
    hours = (times % DAY_MS) / HOUR_MS
    angles = (hours[:, None] - _PART_CENTRES_HOURS) * (2 * np.pi / 24)
    closeness = np.exp(_PART_SHARPNESS * np.cos(angles))
    return np.asarray(closeness / closeness.sum(axis=1, keepdims=True))
