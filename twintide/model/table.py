"""An ID-embedding table: a vocabulary, and for each of its ids one row of weights and what the row
has learnt by.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twintide.keys import Keys, mixed
from twintide.model.vocabulary import Vocabulary
from twintide.rowstore import Column, RowNumbers, RowStore


class Table:
    """Rows of `width` numbers, looked up by key. Row 0 is the default row, zero until it learns.

    Its store has `keys`, `weights` [width], and `sums` of each row's mean squared gradients.
    """

    def __init__(
        self, store: RowStore, slots: RowStore | None = None, *, device: torch.device
    ) -> None:
        """`slots` are its vocabulary's; without, they are made of the keys."""
        self._store = store
        self._vocabulary = Vocabulary.of(store["keys"]) if slots is None else Vocabulary(slots)
        self._device = device
        self._on_device = _Mirror(store, device) if device.type != "cpu" else None

    @classmethod
    def empty(cls, width: int, *, device: torch.device) -> "Table":
        """A table that knows no id yet: the default row alone, all zeros."""
        columns = {
            "keys": Column(np.uint64),
            "weights": Column(np.float32, (width,)),
            "sums": Column(np.float32),
        }
        store = RowStore.empty(columns)
        store.grow(1)
        return cls(store, device=device)

    @classmethod
    def of(
        cls,
        keys: Keys,
        weights: npt.NDArray[np.float32],
        sums: npt.NDArray[np.float32] | None,
        *,
        device: torch.device,
    ) -> "Table":
        """Of arrays, which are adopted; without `sums` no row has learnt yet."""
        if sums is None:
            sums = np.zeros(len(keys), np.float32)
        store = RowStore.of({"keys": keys, "weights": weights, "sums": sums})
        return cls(store, device=device)

    def __len__(self) -> int:
        return len(self._store)

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
        """uint64 [rows]: the key of each row; the default row has none."""
        found: Keys = self._store["keys"]
        return found

    @property
    def known(self) -> Keys:
        """The keys that it has a row for."""
        return self.keys[1:]

    def rows_of(self, keys: Keys) -> RowNumbers:
        """int64 [n]: the row of each key, the default row for one that it does not know."""
        return self._vocabulary.rows_of(keys)

    def gathered(self, rows: RowNumbers) -> tuple[Tensor, Tensor]:
        """Row numbers, and the weights [R, width] that these number."""
        if self._on_device:
            return torch.from_numpy(rows).to(self._device), self._on_device.columns()["weights"]
        return torch.from_numpy(rows), torch.from_numpy(self._store.at(rows)["weights"])

    def touch(self, rows: RowNumbers) -> tuple[Tensor, Tensor]:
        """Weights [R, width] and sums [R] of all rows, of which these are going to be changed."""
        if self._on_device:
            self._store.touch(rows)
            columns = self._on_device.columns()
            return columns["weights"], columns["sums"]
        changed = self._store.touch(rows)
        return torch.from_numpy(changed["weights"]), torch.from_numpy(changed["sums"])

    def grow(self, keys: Keys) -> RowNumbers:
        """Give new ids a row with its first values; returns the new rows' numbers."""
        new = self._vocabulary.new_among(keys)
        if not len(new):
            return np.zeros(0, np.int64)
        first = self._store.grow(len(new))
        rows = np.arange(first, first + len(new))
        self._vocabulary.insert(new, rows)
        columns = self._store.touch(rows)
        columns["keys"][rows] = new
        columns["weights"][rows] = first_values(new, self.width)
        if self._on_device:
            self._on_device.grow(rows)
        return rows

    def store(self) -> RowStore:
        """Keys, weights and sums as they are now."""
        if self._on_device:
            self._on_device.fetch(self._store.touched())
        return self._store

    def slots(self) -> RowStore:
        """Of its vocabulary."""
        return self._vocabulary.store


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

    def grow(self, rows: RowNumbers) -> None:
        """Take over rows that are new in the store, behind the others."""
        end = len(self._store)
        first = end - len(rows)
        for name, tensor in self._tensors.items():
            if end > len(tensor):
                spare = tensor.new_zeros((end - len(tensor) + end // 4, *tensor.shape[1:]))
                self._tensors[name] = torch.cat((tensor, spare))
            values = torch.from_numpy(self._store.at(rows)[name][first:end])
            self._tensors[name][first:end] = values.to(self._device)

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
