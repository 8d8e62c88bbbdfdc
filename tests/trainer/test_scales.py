"""Standardised numbers: by what nightly retrains have seen, and by nothing else."""

from typing import Any

import numpy as np
import pytest

from publisher.publish import publish
from publisher.reader import load_version
from tests.trainer.conftest import MakeLine, at
from twintide.clock import HeldClock
from twintide.errors import Corrupt
from twintide.features.columns import from_columns
from twintide.model.scales import Scales
from twintide.ragged import Numbers

WATCHED: dict[str, Any] = {
    "kind": "dense",
    "name": "watched",
    "column": "watch_seconds",
    "transform": "log1p",
    "standardise": True,
}


def test_numbers_seen_in_parts_are_scaled_as_if_seen_at_once() -> None:
    """Mean 0 and spread 1 over all of them, whatever the parts; far from 0 as well."""
    rng = np.random.default_rng(1)
    values = (1e6 + 3 * rng.normal(size=(1000, 1))).astype(np.float32)
    scales = Scales(["query.x"])
    for part in np.split(values, [1, 1, 10, 400]):
        scales.observe("query.x", Numbers(part))

    scaled = scales.scaled("query.x", values)

    exact = (values - values.astype(np.float64).mean()) / values.astype(np.float64).std()
    np.testing.assert_allclose(scaled, exact, atol=1e-3)
    assert scales.scaled("query.y", values) is values


def test_numbers_are_as_they_are_until_any_were_seen_and_never_divided_by_nothing() -> None:
    """No night yet, and numbers that are all the same."""
    scales, same = Scales(["query.x"]), np.full((5, 1), 7.0, np.float32)

    assert scales.scaled("query.x", same) is same
    scales.observe("query.x", Numbers(same))
    assert (scales.scaled("query.x", same) == 0).all()
    with pytest.raises(Corrupt, match=r"scale\.query\.x"):
        scales.load({"scale.query.x": np.zeros(2)})


@pytest.mark.long
def test_nights_learn_the_scale_and_hours_leave_it(make_line: MakeLine) -> None:
    """It is kept in checkpoint and version, and what a tower is given has mean 0 and spread 1."""
    line = make_line()
    query = line.deployment.model.model_dump(mode="json")["query"]
    line = make_line({"model": {"query": [*query, WATCHED]}})
    night, hour = line.night(0), line.hour(1, 2)
    version = load_version(
        line.deployment.versions_dir, publish(line.deployment, clock=HeldClock(at(1, 3))).version
    )
    count, mean, squares = night.arrays["scale.query.watched"]
    rows = [each.read() for each in line.slices().values() if each.footer.day == at(0).date()]
    seen = [from_columns(each, line.deployment.model.query, "query")["watched"] for each in rows]
    numbers = np.concatenate([each.values for each in seen if isinstance(each, Numbers)])
    given = version.model.scales.scaled("query.watched", numbers)

    assert count == night.manifest.rows
    assert 0 < mean < 1
    assert squares > 0
    assert np.array_equal(hour.arrays["scale.query.watched"], [count, mean, squares])
    assert abs(given.mean()) < 1e-3
    assert abs(given.std() - 1) < 1e-3
    assert line.night(1).arrays["scale.query.watched"][0] > count
