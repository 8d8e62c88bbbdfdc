from pathlib import Path

import pytest

from tests.soak.soak import soak


@pytest.mark.promise("S1")
@pytest.mark.promise("S10")
@pytest.mark.promise("S11")
@pytest.mark.promise("S13")
@pytest.mark.parametrize(
    ("seed", "minutes", "stream_minutes"),
    [
        pytest.param(1, 1.5, 90, marks=[pytest.mark.long, pytest.mark.timeout(400)]),
        *(
            pytest.param(seed, 60, 1440, marks=[pytest.mark.faults, pytest.mark.timeout(4500)])
            for seed in range(2, 7)
        ),
    ],
)
def test_a_day_with_everything_going_wrong_breaks_no_promise(
    tmp_path: Path, seed: int, minutes: float, stream_minutes: int
) -> None:
    """Kills, zombies, leaderless partitions, damaged batches, clocks ahead and back, a full disk,
    transactions and slow clients, at random; then every promise is checked against Kafka's log.
    """
    verdict = soak(tmp_path, seed=seed, minutes=minutes, stream_minutes=stream_minutes)

    assert {promise: found for promise, found in verdict.broken.items() if found} == {}
