"""What `status` says of the tables: their sizes, and when one will be full."""

from datetime import timedelta

import pytest

from tests.publisher import checkpoint_fixture as made
from tests.publisher.checkpoint_fixture import NOON
from twintide.checkpoints import CheckpointManifest
from twintide.derived.state import ITEMS, USERS, history_store
from twintide.modelspec import StateSpec
from twintide.overview.capacity import StateRow, TableRow, state_rows, table_rows
from twintide.storefile import StoreEntry


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> CheckpointManifest:
    return made.add_checkpoint(made.deployment_at(tmp_path_factory.mktemp("data")), 1)


def grown(sound: CheckpointManifest, *sizes: tuple[float, int]) -> list[CheckpointManifest]:
    """Checkpoints of these hours, with so many ids in the table of users."""
    return [
        sound.model_copy(
            update={
                "as_of": NOON + timedelta(hours=hours),
                "stores": {"table.user": StoreEntry(columns=(), rows=1, length=rows + 1)},
            }
        )
        for hours, rows in sizes
    ]


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        ([(0, 100), (24, 200)], 400, (200, 100.0, 72)),
        ([(0, 100), (12, 150), (13, 100)], 400, (100, 0.0, None)),
        ([(0, 100), (24, 200)], None, (200, 100.0, None)),
        ([(0, 100), (24, 400)], 400, (400, 300.0, 24)),
        ([(0, 100), (1, 300)], 400, (300, None, None)),
        ([(0, 1), (24, 2)], 10**9, (2, 1.0, None)),
    ],
)
def test_a_table_is_forecast_from_how_it_grew(
    sound: CheckpointManifest,
    sizes: list[tuple[float, int]],
    limit: int | None,
    expected: tuple[int, float | None, int | None],
) -> None:
    """Over six hours at least; full already, never, or without a limit among them."""
    rows, rate, hours = expected
    full_at = None if hours is None else NOON + timedelta(hours=hours)
    found = table_rows(grown(sound, *sizes), {"user": limit, "unknown": 3})

    assert found == [TableRow("user", rows, limit, rate, full_at)]


def test_without_checkpoints_nothing_is_said(sound: CheckpointManifest) -> None:
    """Nor of checkpoints of format 1, which do not say how many rows they have."""
    assert table_rows([], {"user": 1}) == []
    assert table_rows([sound.model_copy(update={"stores": {}})], {"user": 1}) == []


def test_what_is_remembered_is_told_with_the_days_after_which_it_is_forgotten(
    sound: CheckpointManifest,
) -> None:
    """Items, and users by what is remembered of them, as far as the model asks for it."""
    state = StateSpec(forget_users_after_days=30)
    model = sound.model.model_copy(update={"state": state})
    sizes = {ITEMS: (10, 16), history_store(""): (100, 100), USERS: (5, 5)}
    made = [
        sound.model_copy(
            update={
                "as_of": NOON + timedelta(hours=12 * number),
                "stores": {
                    name: StoreEntry(columns=(), rows=1, length=each[number] + 1)
                    for name, each in sizes.items()
                },
            }
        )
        for number in range(2)
    ]

    assert state_rows(made, model) == [
        StateRow("items", 16, 12.0, None),
        StateRow("users' statistics", 5, 0.0, 30),
        StateRow("users' clicks", 100, 0.0, 30),
    ]
    assert state_rows([], model) == []
