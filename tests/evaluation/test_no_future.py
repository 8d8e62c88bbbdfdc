"""No policy sees the future: not by a millisecond."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from evaluation.runner import Runner
from tests.console.conftest import hour, stream
from tests.evaluation.world import HOURS, Click, Evaluation, places
from tests.trainer.conftest import deployment_in
from twintide.clock import to_unix_ms
from twintide.keys import keys_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

BOUNDARY = hour(26)
"""When lists are made anew, and models go live."""

RARE = 987_654
"""An item that nobody else clicks, but for one asker in each of the next hours."""

MILLISECOND = timedelta(milliseconds=1)
ASKED_AT = (26.5, 27.5, 28.5)


def clicked(base: pa.Table, at: datetime, user: int) -> pa.Table:
    """One click on the rare item, as the stream's events are."""
    row = base.slice(0, 1)
    for name, value in (("event_at", at), ("user_id", user), ("item_id", RARE), ("clicked", True)):
        place = row.column_names.index(name)
        row = row.set_column(
            place, row.schema.field(name), pa.array([value], row.schema.types[place])
        )
    return row.cast(base.schema)


def events_with(at: datetime) -> pa.Table:
    """The stream with a click on the rare item then, and three who click it later."""
    base = stream(deployment_in(Path("unused")), hours=HOURS)
    later = [clicked(base, hour(asked), 70 + n) for n, asked in enumerate(ASKED_AT)]
    events = pa.concat_tables([base, clicked(base, at, 69), *later])
    return events.sort_by("event_at")


def both(folder: Path, names: Sequence[str]) -> list[list[Runner]]:
    """Evaluated with the click a millisecond before the boundary, and on it."""
    return [
        Evaluation(folder / str(number), events_with(at), names).run()
        for number, at in enumerate((BOUNDARY - MILLISECOND, BOUNDARY))
    ]


def without_moved(runner: Runner) -> dict[Click, int]:
    moved = {to_unix_ms(BOUNDARY), to_unix_ms(BOUNDARY) - 1}
    rare = int(keys_of(pa.array([RARE]))[0])
    found = places(runner).items()
    return {key: place for key, place in found if not (key[0] in moved and key[2] == rare)}


def changed_hours(before: Runner, on: Runner) -> set[int]:
    """In which hours of the stream a click found its item at another place."""
    one, other = without_moved(before), without_moved(on)
    assert one.keys() == other.keys()
    start_ms = to_unix_ms(hour(0))
    return {(key[0] - start_ms) // 3_600_000 for key in one if one[key] != other[key]}


def test_a_click_moved_over_a_boundary_moves_in_no_list_that_was_made_before(
    tmp_path: Path,
) -> None:
    """A list of the last hour has it in the hour after the boundary if it came before, and in the
    one after that if it came on it: exactly there the asker finds it.
    """
    (before,), (on,) = both(tmp_path, ["popular-1h"])

    assert changed_hours(before, on) <= {26, 27}
    rare = int(keys_of(pa.array([RARE]))[0])
    asked = [to_unix_ms(hour(each)) for each in ASKED_AT]
    found = [
        [
            place < 100
            for key, place in sorted(places(each).items())
            if key[0] in asked and key[2] == rare
        ]
        for each in (before, on)
    ]
    assert found == [[True, True, True], [False, True, True]]


def test_no_policy_shows_another_list_before_the_boundary(tmp_path: Path) -> None:
    """Neither models, quick or slow, nor any of the lists; after it, what counts clicks may."""
    names = [
        "nightly+hourly+statistics-20min",
        "nightly",
        "popular-all-time",
        "co-visitation",
        "item-knn",
    ]
    for before, on in zip(*both(tmp_path, names), strict=True):
        changed = changed_hours(before, on)
        assert all(each >= 26 for each in changed), before.policy.name
        if before.policy.name == "nightly":
            assert changed == set()  # the next night is far
