"""Which ids have a row follows from what was seen when, and from nothing else."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from twintide.keys import Keys, mixed
from twintide.model.table import Table, first_values
from twintide.model.waiting import DAYS
from twintide.modelspec import TableSpec
from twintide.rowstore import RowStore

CPU = torch.device("cpu")
BEGIN = 500_000
"""The hour that all begin with."""

RULES = {
    "admission": TableSpec(admit_after=3),
    "eviction": TableSpec(evict_after_days=2),
    "both": TableSpec(admit_after=2, evict_after_days=1),
    "a limit": TableSpec(evict_after_days=1, max_rows=40),
    "all": TableSpec(admit_after=2, evict_after_days=1, max_rows=30),
}


@dataclass
class Plain:
    """The rule in dictionaries, one hour after the other."""

    rule: TableSpec
    day: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    """Of an id with a row: the day of its last sighting."""

    waiting: dict[int, list[int]] = field(default_factory=dict)
    """Sightings, the hour in which they were enough, the day of the last."""

    def hour(self, keys: list[int], hour: int) -> None:
        today, days = hour // 24, self.rule.evict_after_days
        if keys and today > self.day:
            if days:
                self.seen = {k: day for k, day in self.seen.items() if day >= today - days}
            self.waiting = {k: w for k, w in self.waiting.items() if w[2] >= today - (days or DAYS)}
            self.day = today
        for key in dict.fromkeys(keys):
            if key not in self.seen and self._admits(key, hour) and self._has_room():
                self.seen[key] = today
                self.waiting.pop(key, None)
        for key in keys:
            if key in self.seen:
                self.seen[key] = today
            elif self.rule.admit_after > 1:
                waits = self.waiting.setdefault(key, [0, 0, 0])
                waits[0], waits[2] = waits[0] + 1, today
                if waits[0] >= self.rule.admit_after and not waits[1]:
                    waits[1] = hour

    def _admits(self, key: int, hour: int) -> bool:
        if self.rule.admit_after == 1:
            return True
        return 0 < self.waiting.get(key, [0, 0, 0])[1] < hour

    def _has_room(self) -> bool:
        return self.rule.max_rows is None or len(self.seen) < self.rule.max_rows


def some_ids(rng: np.random.Generator, hour: int, many: int) -> Keys:
    """Of the hour: mostly new ids, and some that come for ever."""
    numbers = rng.zipf(1.3, many) % (20 * many) + (hour // 8) * many
    return mixed(numbers.astype(np.uint64))


def again(table: Table, rule: TableSpec) -> Table:
    """As the next run finds it."""
    saved = {
        name: RowStore.of({column: values.copy() for column, values in store.columns().items()})
        for name, store in table.stores().items()
    }
    return Table(saved, rule, device=CPU)


def same(left: Table, right: Table) -> bool:
    ours, theirs = left.stores(), right.stores()
    return all(
        np.array_equal(store[name], theirs[part][name])
        for part, store in ours.items()
        for name in store.names
    )


@pytest.mark.promise("T11")
@pytest.mark.parametrize(
    ("many", "hours"),
    [
        (60, 120),
        pytest.param(20_000, 200, marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_ids_come_and_go_as_in_dictionaries(rule: TableSpec, many: int, hours: int) -> None:
    """Through admissions, evictions and growths, an hour in one run or in several, by one process
    or by a new one each time; rows are never more than were needed at once.
    """
    rng, plain = np.random.default_rng(many), Plain(rule)
    table = Table.empty(4, rule, device=CPU)
    rerun = Table.empty(4, rule, device=CPU)
    most = 0
    for hour in range(BEGIN, BEGIN + hours):
        keys = some_ids(rng, hour, many if hour % 30 else 0)
        plain.hour(keys.tolist(), hour)
        table.sight(keys, np.full(len(keys), hour))
        cut = int(rng.integers(0, len(keys) + 1))
        for part in (keys[:cut], keys[cut:]):
            rerun = again(rerun, rule)
            rerun.sight(part, np.full(len(part), hour))

        most = max(most, len(plain.seen))
        if hour % 10 == 0:
            assert set(table.known.tolist()) == plain.seen.keys()
            assert set(rerun.known.tolist()) == plain.seen.keys()
    known = np.array(list(plain.seen), np.uint64)
    rows = table.rows_of(known)
    assert len(set(rows.tolist())) == len(known)
    assert np.array_equal(table.keys[rows], known)
    assert np.array_equal(table.weights.numpy()[rows], first_values(known, 4))
    assert len(table) <= 2 + most + many
    assert len(known) > 10


@pytest.mark.promise("T11")
def test_many_hours_at_once_are_the_hours_one_by_one() -> None:
    """As a night that learns a day sees it: the table is the same to the byte."""
    rule, rng = RULES["both"], np.random.default_rng(1)
    hours = np.sort(rng.integers(BEGIN, BEGIN + 60, 3000))
    keys = np.concatenate([some_ids(rng, int(hour), 1) for hour in hours])
    one, many = (Table.empty(4, rule, device=CPU) for _ in range(2))
    one.sight(keys, hours)
    for hour in np.unique(hours).tolist():
        many.sight(keys[hours == hour], hours[hours == hour])

    assert same(one, many)


def test_a_row_that_is_given_back_keeps_nothing_of_who_had_it() -> None:
    """Neither weights nor what it learnt by; and an id that comes back begins anew."""
    rule = TableSpec(evict_after_days=1)
    table = Table.empty(4, rule, device=CPU)
    first, second = mixed(np.array([[1, 2], [3, 4]], np.uint64))
    table.sight(first, np.full(2, BEGIN))
    weights, sums = table.touch(np.array([1, 2]))
    weights[1:] = 7
    sums[1:] = 7
    table.sight(second, np.full(2, BEGIN + 72))

    assert table.rows_of(first).tolist() == [0, 0]
    assert table.rows_of(second).tolist() == [1, 2]
    assert np.array_equal(table.weights.numpy()[1:], first_values(second, 4))
    assert table.stores()[""]["sums"].tolist() == [0, 0, 0]
    served = Table.of(table.keys.copy(), table.weights.numpy().copy(), None, device=CPU)
    assert served.rows_of(np.concatenate((first, second))).tolist() == [0, 0, 1, 2]


def test_a_rule_may_come_and_go() -> None:
    """One that comes counts from its first day on; one that went and comes back does as well."""
    rule, none = TableSpec(evict_after_days=2, admit_after=2), TableSpec()
    keys = mixed(np.arange(1, 5, dtype=np.uint64))
    table = Table.empty(4, none, device=CPU)
    table.sight(keys[:2], np.full(2, BEGIN))
    table = again(table, rule)
    table.sight(keys[2:3], np.full(1, BEGIN + 240))
    assert table.rows_of(keys).tolist() == [1, 2, 0, 0]

    table = again(table, none)
    table.sight(keys[3:], np.full(1, BEGIN + 480))
    table = again(table, rule)
    table.sight(keys[:1], np.full(1, BEGIN + 720))
    assert table.rows_of(keys).tolist() == [1, 2, 0, 3]
    table.sight(keys[:1], np.full(1, BEGIN + 744))
    table.sight(keys[:1], np.full(1, BEGIN + 792))
    assert table.rows_of(keys).tolist() == [1, 0, 0, 0]
