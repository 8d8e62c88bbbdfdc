"""An ID-embedding table: a vocabulary, and for each of its ids one row of weights and what the row
has learnt by.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twintide.keyedrows import FREE, KEYS, KeyedRows
from twintide.keys import NO_KEY, Keys, mixed
from twintide.model.vocabulary import DEFAULT_ROW
from twintide.model.waiting import Waiting
from twintide.modelspec import TableSpec
from twintide.rowstore import INDEX, Column, RowNumbers, RowStore, Stores

NO_RULE = TableSpec()


class Table:
    """Rows of `width` numbers, looked up by key. Row 0 is the default row, zero until it learns.

    Its store has `keys`, `weights` [width], and `sums` of each row's mean squared gradients; where
    rows are given back, also `seen`: the day of a row's last sighting, in row 0 the newest day.
    """

    def __init__(
        self,
        stores: Mapping[str, RowStore],
        rule: TableSpec = NO_RULE,
        *,
        device: torch.device,
    ) -> None:
        """`stores` as `stores()` has them; only the first, "", must be there."""
        store = stores[""]
        if (rule.evict_after_days is not None) != ("seen" in store.names):
            store = _with_days(store) if rule.evict_after_days else _without_days(store)
        self._rule, self._device = rule, device
        self._rows = KeyedRows(store, stores.get(INDEX), stores.get(FREE))
        self._waiting = None
        if rule.admit_after > 1:
            self._waiting = Waiting(stores.get(_WAITING), stores.get(_WAITING + INDEX))
        self._on_device = _Mirror(store, device) if device.type != "cpu" else None

    @classmethod
    def empty(cls, width: int, rule: TableSpec = NO_RULE, *, device: torch.device) -> "Table":
        """A table that knows no id yet: the default row alone, all zeros."""
        columns = {
            KEYS: Column(np.uint64),
            "weights": Column(np.float32, (width,)),
            "sums": Column(np.float32),
        }
        return cls({"": RowStore.empty(columns)}, rule, device=device)

    @classmethod
    def of(
        cls,
        keys: Keys,
        weights: npt.NDArray[np.float32],
        sums: npt.NDArray[np.float32] | None,
        rule: TableSpec = NO_RULE,
        *,
        device: torch.device,
    ) -> "Table":
        """Of arrays, which are adopted; without `sums` no row has learnt yet."""
        if sums is None:
            sums = np.zeros(len(keys), np.float32)
        store = RowStore.of({KEYS: keys, "weights": weights, "sums": sums})
        return cls({"": store}, rule, device=device)

    def __len__(self) -> int:
        """Rows, those that are free and the default row included."""
        return len(self._store)

    @property
    def _store(self) -> RowStore:
        return self._rows.store

    @property
    def width(self) -> int:
        """Numbers in one row."""
        return int(self._store.at(slice(0))["weights"].shape[1])

    @property
    def weights(self) -> Tensor:
        """[rows, width]: all of them, to read."""
        if self._on_device:
            return self._on_device.columns()["weights"]
        return torch.from_numpy(self._store["weights"])

    @property
    def keys(self) -> Keys:
        """uint64 [rows]: the key of each row; the default row and free ones have none."""
        found: Keys = self._store[KEYS]
        return found

    @property
    def known(self) -> Keys:
        """The keys that it has a row for."""
        found: Keys = self.keys[self.keys != NO_KEY]
        return found

    def rows_of(self, keys: Keys) -> RowNumbers:
        """int64 [n]: the row of each key, the default row for one that it does not know."""
        return self._rows.rows_of(keys)

    def gathered(self, rows: RowNumbers) -> tuple[Tensor, Tensor]:
        """Row numbers, and the weights [R, width] that these number."""
        if self._on_device:
            return torch.from_numpy(rows).to(self._device), self._on_device.columns()["weights"]
        return torch.from_numpy(rows), torch.from_numpy(self._store.at(rows)["weights"])

    def touch(self, rows: RowNumbers) -> tuple[Tensor, Tensor]:
        """Weights [R, width] and sums [R] of all rows, of which these are going to be changed."""
        changed = self._store.touch(rows)
        if self._on_device:
            columns = self._on_device.columns()
            return columns["weights"], columns["sums"]
        return torch.from_numpy(changed["weights"]), torch.from_numpy(changed["sums"])

    def grow(self, keys: Keys) -> RowNumbers:
        """Give new ids a row with its first values; returns these rows' numbers."""
        new = self._rows.new_among(keys)
        if self._rule.max_rows is not None:
            new = new[: max(0, self._rule.max_rows - self._rows.taken)]
        rows = self._rows.give(new)
        if len(rows):
            self._store.touch(rows)["weights"][rows] = first_values(new, self.width)
            if self._on_device:
                self._on_device.take(rows)
        return rows

    def sight(self, keys: Keys, hours: RowNumbers) -> RowNumbers:
        """See ids, in order, each in an hour since 1970: those that the rule admits have a row
        afterwards, and those that it evicts have none. Returns the rows that were given.
        """
        if not self._rule.is_rule():
            return self.grow(keys)
        given = [np.zeros(0, np.int64)]
        for hour in np.unique(hours).tolist():
            self._begin_day(hour // 24)
            given.append(self._sight_hour(keys[hours == hour], hour))
        return np.concatenate(given)

    def _begin_day(self, day: int) -> None:
        """Once a day: rows that no id was seen for are free."""
        days, top = self._rule.evict_after_days, np.zeros(1, np.int64)
        if self._waiting is not None:
            self._waiting.begin_day(day, days=days)
        if days is None or day <= (newest := int(self._store.at(top)["seen"][0])):
            return
        if not newest:  # no day was counted before
            self._store.touch(slice(None))["seen"][:] = day
            return
        columns = self._store.columns()
        going = np.flatnonzero((columns[KEYS] != NO_KEY) & (columns["seen"] < day - days))
        self._rows.remove(going)
        if self._on_device and len(going):
            self._on_device.take(going)
        self._store.touch(top)["seen"][0] = day

    def _sight_hour(self, keys: Keys, hour: int) -> RowNumbers:
        distinct, first_at, counts = np.unique(
            keys[keys != NO_KEY], return_index=True, return_counts=True
        )
        order = np.argsort(first_at)
        distinct, counts = distinct[order], counts[order]
        is_new = self.rows_of(distinct) == DEFAULT_ROW
        new = distinct[is_new]
        if self._waiting is not None:
            enough = self._rule.admit_after
            new = self._waiting.sight(new, counts[is_new], hour=hour, enough=enough)
        given = self.grow(new)
        rows = self.rows_of(distinct)
        if self._waiting is not None:
            self._waiting.leave(new[self.rows_of(new) != DEFAULT_ROW])
        if self._rule.evict_after_days is not None:
            rows = rows[rows != DEFAULT_ROW]
            seen = self._store.touch(rows)["seen"]
            seen[rows] = np.maximum(seen[rows], hour // 24)
        return given

    def stores(self) -> Stores:
        """Keys, weights and sums as they are now, as ""; with what finds rows, which are free where
        ids lose theirs, and who waits.
        """
        if self._on_device:
            self._on_device.fetch(self._store.touched())
        found = {"": self._store, INDEX: self._rows.index}
        if self._rule.evict_after_days is not None:
            found[FREE] = self._rows.free
        if self._waiting is not None:
            waiting = self._waiting.rows
            found |= {_WAITING: waiting.store, _WAITING + INDEX: waiting.index}
        return found


_WAITING = ".waiting"


def _with_days(store: RowStore) -> RowStore:
    """With a column for the days of sightings, of which none is known."""
    return RowStore.of(store.columns() | {"seen": np.zeros(len(store), np.int64)})


def _without_days(store: RowStore) -> RowStore:
    """Without it: a day that is counted no more would be far in the past when it is again."""
    return RowStore.of({name: each for name, each in store.columns().items() if name != "seen"})


class _Mirror:
    """Weights and sums of a store on a GPU. These rule; the store has what is fetched."""

    def __init__(self, store: RowStore, device: torch.device) -> None:
        self._store, self._device = store, device
        self._tensors = {
            name: torch.from_numpy(store[name]).to(device) for name in ("weights", "sums")
        }

    def columns(self) -> dict[str, Tensor]:
        """By name, as many rows as the store has."""
        return {name: tensor[: len(self._store)] for name, tensor in self._tensors.items()}

    def take(self, rows: RowNumbers) -> None:
        """Have these rows as the store has them: they are new, or were given back."""
        end = len(self._store)
        for name, tensor in self._tensors.items():
            if end > len(tensor):
                spare = tensor.new_zeros((end - len(tensor) + end // 4, *tensor.shape[1:]))
                self._tensors[name] = torch.cat((tensor, spare))
            values = torch.from_numpy(self._store.at(rows)[name][rows])
            self._tensors[name][torch.from_numpy(rows).to(self._device)] = values.to(self._device)

    def fetch(self, rows: RowNumbers) -> None:
        """Let the store have these rows as they are here."""
        columns = self._store.at(rows)
        for name, tensor in self._tensors.items():
            columns[name][rows] = tensor[torch.from_numpy(rows).to(self._device)].cpu().numpy()


def first_values(keys: Keys, width: int) -> npt.NDArray[np.float32]:
    """float32 [n, width], uniform in ±0.4/√width: a function of the id alone, so that neither the
    order of arrival nor a restart changes what a row begins with.
    """
    counters = np.arange(1, width + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = mixed(keys[:, None] + counters[None, :]) >> np.uint64(40)
    spread: npt.NDArray[np.float32] = bits.astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return spread * np.float32(0.4 / math.sqrt(width))
