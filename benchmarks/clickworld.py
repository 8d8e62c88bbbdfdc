"""How fast the click world turns: events a second on one core, at three sizes.

    python -m benchmarks.clickworld

The default size spends its time on the ten-minute blocks; a busy world shows the cost of an event.
"""

from datetime import UTC, datetime

from clickworld import ClickWorld, WorldConfig
from twintide.clock import monotonic_seconds

START_AT = datetime(2026, 1, 5, tzinfo=UTC)
HOURS = 24


def main() -> None:
    """Print a line for each size."""
    print(f"{'impressions/hour':>16} {'events':>10} {'seconds':>8} {'events/s':>10}")
    for impressions_per_hour in (5_600, 50_000, 200_000):
        world = ClickWorld(WorldConfig(impressions_per_hour=impressions_per_hour))
        began_at = monotonic_seconds()
        events = sum(len(table) for table in world.hours(START_AT, HOURS))
        seconds = monotonic_seconds() - began_at
        print(f"{impressions_per_hour:16,} {events:10,} {seconds:8.2f} {events / seconds:10,.0f}")


if __name__ == "__main__":
    main()
