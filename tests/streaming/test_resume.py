import pytest

from streaming.resume import resume_point
from tests.streaming.test_cutter import NOON, footer
from twintide.errors import Refused


@pytest.mark.promise("S6")
@pytest.mark.parametrize(
    ("newest_next", "begin", "end", "point"),
    [
        (None, 0, 0, 0),
        (None, 5, 9, 5),
        (7, 0, 7, 7),
        (7, 7, 9, 7),
        (7, 0, 9, 7),
    ],
)
def test_reading_goes_on_where_the_newest_shard_ends(
    newest_next: int | None, begin: int, end: int, point: int
) -> None:
    """Without a shard, where the log begins."""
    before = None if newest_next is None else footer(next_offset=newest_next, minute_at=NOON)

    assert resume_point("t", 0, before, begin=begin, end=end, accept_gap=False) == point


@pytest.mark.promise("S6")
def test_deleted_offsets_are_refused_unless_accepted() -> None:
    """The message names the missing offsets, the hint the key that goes on without them."""
    before = footer(next_offset=7, minute_at=NOON)

    with pytest.raises(Refused, match="offsets 7 to 8 of t, partition 0") as refused:
        resume_point("t", 0, before, begin=9, end=20, accept_gap=False)
    assert "accept_gap" in refused.value.hint
    assert resume_point("t", 0, before, begin=9, end=20, accept_gap=True) == 9


@pytest.mark.promise("S6")
@pytest.mark.parametrize("accept_gap", [True, False])
def test_a_log_that_ends_before_the_shards_is_refused(*, accept_gap: bool) -> None:
    """It is another log; going on would put other messages under the same offsets."""
    before = footer(next_offset=7, minute_at=NOON)

    with pytest.raises(Refused, match="its log ends at 3"):
        resume_point("t", 0, before, begin=0, end=3, accept_gap=accept_gap)
