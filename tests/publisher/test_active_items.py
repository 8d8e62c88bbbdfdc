from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publisher.publish import publish
from publisher.reader import LoadedVersion, load_version
from tests.publisher import checkpoint_fixture as made
from tests.publisher import hours
from twintide.config import Deployment, fill_in
from twintide.problems import Misconfigured

CLOCK = made.held_clock()


def deployment_at(folder: Path, **publishing: Any) -> Deployment:
    """A night of 300 items that were clicked a week before its hours."""
    candidate = made.configuration(Path())["model"]["candidate"][:2]
    plain = made.deployment_at(folder / "data")
    state = {"forget_items_after_days": 30}
    return fill_in(
        plain, {"model": {"candidate": candidate, "state": state}, "publishing": publishing}
    )


def published(deployment: Deployment, *, judge: bool = False) -> LoadedVersion:
    found = publish(deployment, clock=CLOCK, judge=judge)
    assert found.promoted, found.why
    return load_version(deployment.versions_dir, found.version)


def test_items_that_no_event_was_about_lately_are_not_in_the_index(tmp_path: Path) -> None:
    """They come back with their first event; all that are remembered count as known, so the gate
    lets such a version follow one that holds them all.
    """
    everything, lately = (
        deployment_at(tmp_path, **told) for told in ({}, {"active_within_days": 3})
    )
    hours.night(everything, made.item_range(1000, 300))
    assert published(everything).index.items == 300
    hours.hour(everything, np.arange(9), made.item_range(1000, 9))

    first = published(lately, judge=True)

    assert first.item_ids.to_pylist() == [*range(1000, 1009)]
    assert (first.manifest.idle_items, first.manifest.catalogue_items) == (291, 300)
    hours.hour(everything, np.arange(3), np.array([1200, 1003, 5000]))
    second = published(lately, judge=True)
    assert second.item_ids.to_pylist() == [*range(1000, 1009), 1200, 5000]
    assert second.manifest.idle_items == 290


def test_days_that_nobody_counts_are_refused_by_their_key(tmp_path: Path) -> None:
    """Without `forget_items_after_days`, and where an item is forgotten before it is idle."""
    for days in (30, 31):
        with pytest.raises(Misconfigured, match="leave nothing out"):
            deployment_at(tmp_path, active_within_days=days)

    with pytest.raises(Misconfigured, match=r"publishing.active_within_days.*not counted"):
        made.deployment_at(tmp_path / "data", publishing={"active_within_days": 3})
