import numpy as np
import pytest

from streaming.rejects import RejectWatch
from twintide.errors import Refused


def feed(watch: RejectWatch, total: int, bad: int, *, shard: int) -> None:
    """`bad` of `total` messages, spread evenly, in shards of that many."""
    is_bad = np.zeros(total, np.bool_)
    if bad:
        is_bad[np.linspace(0, total - 1, bad).astype(int)] = True
    for start in range(0, total, shard):
        watch.check(0, is_bad[start : start + shard], sample="x")


@pytest.mark.promise("S9")
@pytest.mark.parametrize("shard", [100, 3_000, 50_000])
@pytest.mark.parametrize(("percent", "stops"), [(1, False), (4, False), (7, True), (50, True)])
def test_a_flood_of_bad_messages_is_refused(percent: int, shard: int, *, stops: bool) -> None:
    """Above 5 % of the last 10,000, however they fall into shards; below, never."""
    watch = RejectWatch("clicks", max_ratio=0.05)

    if stops:
        with pytest.raises(Refused, match="are bad"):
            feed(watch, 50_000, 50_000 * percent // 100, shard=shard)
    else:
        feed(watch, 50_000, 50_000 * percent // 100, shard=shard)


def test_a_burst_within_a_large_shard_is_found() -> None:
    """600 in a row are a flood although they are a hundredth of the shard."""
    is_bad = np.zeros(60_000, np.bool_)
    is_bad[30_000:30_600] = True

    with pytest.raises(Refused, match="600 of 10000"):
        RejectWatch("clicks", max_ratio=0.05).check(0, is_bad, sample="x")


def test_a_few_bad_messages_at_the_start_are_no_flood() -> None:
    """Fifty of the first fifty are 5 % of the thousand that a short past counts as."""
    watch = RejectWatch("clicks", max_ratio=0.05)
    watch.check(0, np.ones(50, np.bool_), sample="x")

    with pytest.raises(Refused, match="51 of 1000"):
        watch.check(0, np.ones(1, np.bool_), sample="x")


def test_partitions_are_judged_apart() -> None:
    """One broken producer does not spend the patience of another partition."""
    watch = RejectWatch("clicks", max_ratio=0.05)
    watch.check(0, np.ones(40, np.bool_), sample="x")
    watch.check(1, np.ones(40, np.bool_), sample="x")
