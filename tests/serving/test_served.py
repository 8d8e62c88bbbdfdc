"""What a scrape shows of several processes that do not stand alike."""

import pytest

from serving.metrics import gauges
from serving.served import Served, Serves

OLDER = Served("v000002", "hourly-000002", 300, 10_000, 10_000)
NEWER = Served("v000003", "hourly-000003", 310, 70_000, 80_000)
UNDATED = Served("v000001", "hourly-000001", 290, None, None)


def serves(version: Served | None, *, blocked: int = 5, problems: bool = False) -> Serves:
    return Serves(
        has_problem=problems,
        blocked_items=blocked,
        has_blocklist_problem=problems,
        version=version,
    )


@pytest.mark.parametrize(
    ("every", "shown"),
    [
        (
            [serves(NEWER)],
            {
                "problem": 0,
                "blocked": 5,
                "items": 310,
                "age": 30,
                "counted": 20,
                "ahead": 0,
                "v000003": 1,
            },
        ),
        (
            [serves(NEWER), serves(OLDER, blocked=4, problems=True), serves(NEWER)],
            {
                "problem": 1,
                "blocked": 4,
                "items": 300,
                "age": 90,
                "counted": 90,
                "ahead": 0,
                "v000003": 2,
                "v000002": 1,
            },
        ),
        (
            [serves(None, problems=True), serves(UNDATED), serves(None, problems=True)],
            {"problem": 2, "blocked": 5, "items": 290, "v000001": 1},
        ),
        ([serves(None, problems=True)], {"problem": 1, "blocked": 5}),
    ],
    ids=["alone", "one lags", "some load", "none yet"],
)
def test_a_scrape_shows_how_many_and_the_worst(
    every: list[Serves], shown: dict[str, float]
) -> None:
    """Of problems and versions the number of processes, of freshness and items the least."""
    named = {
        "twintide_version_problem": "problem",
        "twintide_blocked_items": "blocked",
        "twintide_version_items": "items",
        "twintide_newest_click_age_seconds": "age",
        "twintide_newest_click_ahead_seconds": "ahead",
        "twintide_newest_counted_click_age_seconds": "counted",
    }
    found = {
        sample.labels.get("version", named.get(sample.name, "")): sample.value
        for family in gauges(every, now_ms=100_000)
        for sample in family.samples
    }

    blocklist = found.pop("")
    assert blocklist == shown["problem"]
    assert found == shown
