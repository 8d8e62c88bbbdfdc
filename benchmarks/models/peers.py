"""What others would recommend, from the same clicks: lists of the popular, and libraries.

    implicit      ALS and BPR on the matrix of who clicked what
    torch-rechub  DSSM, a two-tower model on the same columns, with the same histories

A library is fitted anew (or goes on, as DSSM does) each night, for the days that are scored. Which
of a few settings it takes is chosen on the day before those, by recall@100. Users whom it does not
know get the most clicked items of the last 24 hours, which is the best list without a model here.
"""

# ruff: noqa: PLC0415  a library is imported where it is used: it may be missing

import contextlib
import importlib.util
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.models.contestants import best
from benchmarks.models.stage import Day, Hour
from evaluation.baseline import BaselineRunner
from evaluation.lists import ClickCounts
from evaluation.metrics import DEPTH, Tally, positions_of
from evaluation.policies import BASELINE_NAMES, parse_policy
from twintide.clock import to_unix_ms
from twintide.keys import Keys
from twintide.ragged import Ids

Ints = npt.NDArray[np.int64]
Setting = Mapping[str, Any]
TOLD = "history"
"""The feature of `configs/kuairand.yaml` that holds what a user clicked before."""


def popular(days: Sequence[Day]) -> tuple[dict[str, Tally], dict[int, Keys]]:
    """The baselines of `twintide evaluate`, each list as of the hour's start; and for each hour,
    by its milliseconds, the most clicked items of 24 hours.
    """
    counts = ClickCounts()
    runners = {name: BaselineRunner(parse_policy(name), counts, TOLD) for name in BASELINE_NAMES}
    tallies = {name: Tally() for name in runners}
    of_a_day = {}
    for day in days:
        for hour in day.hours:
            now_ms = to_unix_ms(hour.at)
            counts.tick(now_ms)
            if day.is_scored:
                for name, runner in runners.items():
                    runner.tick(hour.at)
                    lists = runner.lists(hour.clicked)
                    tallies[name].add(positions_of(hour.clicked.rows.item_keys, lists))
            of_a_day[now_ms] = counts.popular("popular-24h", now_ms=now_ms, k=DEPTH)
            rows = hour.clicked.rows
            counts.add(rows.item_keys, _history(hour), rows.at_ms)
    return tallies, of_a_day


@dataclass
class Clicks:
    """Clicks so far, as rows of users and items, numbered from 1 as they come."""

    users: dict[int, int] = field(default_factory=dict)
    items: dict[int, int] = field(default_factory=dict)
    pairs: list[tuple[Ints, Ints]] = field(default_factory=list)

    def add(self, hour: Hour) -> None:
        _number(self.users, hour.clicked.users)
        _number(self.items, hour.clicked.rows.item_keys)
        self.pairs.append(self.rows_of(hour))

    def rows_of(self, hour: Hour) -> tuple[Ints, Ints]:
        """[B], [B]: users and items of the hour's clicks; 0 for one that is not known."""
        return found(self.users, hour.clicked.users), found(self.items, hour.clicked.rows.item_keys)

    def item_keys(self) -> Keys:
        """Item rows, from 1, back to keys."""
        return np.fromiter(self.items, np.uint64, len(self.items))


def _number(known: dict[int, int], keys: Keys) -> None:
    for key in keys.tolist():
        known.setdefault(key, len(known) + 1)


def found(known: dict[int, int], keys: Keys) -> Ints:
    """[n]: the number of each key, 0 for one that is not known."""
    return np.array([known.get(key, 0) for key in keys.tolist()], np.int64)


class Peer(Protocol):
    """One library's model."""

    def night(self, clicks: Clicks, new: Sequence[Hour]) -> None:
        """Learn; `new` are the hours since the night before, the last of `clicks`."""

    def lists(self, clicks: Clicks, hour: Hour) -> tuple[Keys, npt.NDArray[np.bool_]]:
        """uint64 [B, DEPTH], and [B]: whose lists are its own; `clicks` are those before."""


class Implicit:
    """A factorization of the matrix of who clicked what. What a user has clicked is left out of
    their list, as the library does by default.
    """

    def __init__(self, setting: Setting, *, seed: int) -> None:
        from implicit.als import AlternatingLeastSquares
        from implicit.bpr import BayesianPersonalizedRanking
        from threadpoolctl import threadpool_limits

        threadpool_limits(1, "blas")  # as implicit asks for: its own threads and those are too many
        keys = dict(setting)
        kinds = {"als": AlternatingLeastSquares, "bpr": BayesianPersonalizedRanking}
        kind = keys.pop("kind")
        self._folds_in = kind == "als"
        self._fresh: Callable[[], Any] = partial(
            kinds[kind], num_threads=1, random_state=seed, **keys
        )
        self._model = self._fresh()
        self._shape = (0, 0)

    def night(self, clicks: Clicks, new: Sequence[Hour]) -> None:  # noqa: ARG002  fitted anew
        matrix = self._matrix(clicks, (len(clicks.users) + 1, len(clicks.items) + 1))
        self._shape = matrix.shape
        self._model = self._fresh()  # a second fit of one would keep tables of the first one's size
        self._model.fit(matrix, show_progress=False)

    def lists(self, clicks: Clicks, hour: Hour) -> tuple[Keys, npt.NDArray[np.bool_]]:
        users, _ = clicks.rows_of(hour)
        seen = self._matrix(clicks, (len(clicks.users) + 1, self._shape[1]))
        # ALS works out a user's vector from their clicks up to now, BPR knows those of the night.
        known = (seen[users].getnnz(axis=1) > 0) & (self._folds_in | (users < self._shape[0]))
        known &= users > 0
        lists = np.zeros((len(users), DEPTH), np.uint64)
        if known.any():
            keys = {"recalculate_user": True} if self._folds_in else {}
            rows, _ = self._model.recommend(users[known], seen[users[known]], N=DEPTH, **keys)
            lists[known] = np.append(np.uint64(0), clicks.item_keys())[rows]
        return lists, known

    @staticmethod
    def _matrix(clicks: Clicks, shape: tuple[int, int]) -> Any:
        from scipy.sparse import csr_matrix

        users, items = (np.concatenate(column) for column in zip(*clicks.pairs, strict=True))
        inside = (users < shape[0]) & (items < shape[1])
        ones = np.ones(int(inside.sum()), np.float32)
        matrix = csr_matrix((ones, (users[inside], items[inside])), shape=shape)
        matrix.data[:] = 1.0
        return matrix


_LENGTH, _TABS, _HOURS_OF_DAY, _WIDTH = 20, 16, 24, 32
_BATCH_ROWS = 256
_ROOM = {"users": 40_000, "items": 10_000}
"""Its tables have a fixed size; later ids than these are none."""


class Dssm:
    """torch-rechub's DSSM: the columns and widths of `configs/kuairand.yaml`, its own trainer."""

    def __init__(self, setting: Setting, *, seed: int) -> None:
        from torch_rechub.basic.features import SequenceFeature, SparseFeature
        from torch_rechub.models.matching import DSSM
        from torch_rechub.trainers import MatchTrainer

        torch.manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        self._negatives = setting.get("negatives")
        self._epochs = setting["epochs"]
        item = SparseFeature("item", vocab_size=_ROOM["items"], embed_dim=_WIDTH)
        query = [
            SparseFeature("user", vocab_size=_ROOM["users"], embed_dim=_WIDTH),
            SparseFeature("tab", vocab_size=_TABS + 1, embed_dim=_WIDTH),
            SparseFeature("hour", vocab_size=_HOURS_OF_DAY, embed_dim=_WIDTH),
            SequenceFeature(
                TOLD, _ROOM["items"], _WIDTH, pooling="mean", shared_with="item", padding_idx=0
            ),
        ]
        layers = {"dims": [128, 64, _WIDTH]}
        self._model = DSSM(query, [item], dict(layers), dict(layers))
        # DSSM takes a temperature and leaves it alone, so the cosines are stretched here.
        stretch = _stretched(self._model, 1 / setting["temperature"])
        self._trainer = MatchTrainer(
            stretch,
            mode=0,
            in_batch_neg=self._negatives is None,
            optimizer_params={"lr": setting["lr"], "weight_decay": 1e-6},
        )

    def night(self, clicks: Clicks, new: Sequence[Hour]) -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            for _ in range(self._epochs):
                self._trainer.train_one_epoch(list(self._batches(clicks, new)))
        self._model.eval()

    def _batches(
        self, clicks: Clicks, hours: Sequence[Hour]
    ) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        """Shuffled, every click once, beside each as many items drawn evenly as the setting says;
        in-batch negatives need none.
        """
        parts = [_inputs(clicks, hour) for hour in hours]
        rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        count = len(rows["item"])
        repeats = 1 + (self._negatives or 0)
        for chosen in np.array_split(self._rng.permutation(count), -(-count // _BATCH_ROWS)):
            drawn = {
                name: np.repeat(column[chosen], repeats, axis=0) for name, column in rows.items()
            }
            is_drawn = np.tile(np.arange(repeats) > 0, len(chosen))
            items = self._rng.integers(1, len(clicks.items) + 1, len(is_drawn))
            drawn["item"] = np.where(is_drawn, items, drawn["item"])
            batch = {name: torch.from_numpy(column) for name, column in drawn.items()}
            yield batch, torch.from_numpy((~is_drawn).astype(np.float32))

    def lists(self, clicks: Clicks, hour: Hour) -> tuple[Keys, npt.NDArray[np.bool_]]:
        inputs = {name: torch.from_numpy(rows) for name, rows in _inputs(clicks, hour).items()}
        items = {"item": torch.arange(1, min(len(clicks.items) + 1, _ROOM["items"]))}
        with torch.inference_mode():
            scores = self._model.user_tower(inputs) @ self._model.item_tower(items).T
        return best(scores.numpy(), clicks.item_keys()), np.ones(len(scores), np.bool_)


def _stretched(model: Any, by: float) -> Any:
    """The model with the query's vector so many times as long."""
    tower = model.user_tower

    def user_tower(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        stretched: torch.Tensor = tower(inputs) * by
        return stretched

    model.user_tower = user_tower
    return model


def _inputs(clicks: Clicks, hour: Hour) -> dict[str, Ints]:
    """The columns of `configs/kuairand.yaml` as numbered rows."""
    users, items = clicks.rows_of(hour)
    query = hour.clicked.query
    ms_of_day = (hour.clicked.rows.at_ms + 8 * 3_600_000) % 86_400_000
    tabs = query["tab"]
    return {
        "user": np.where(users < _ROOM["users"], users, 0),
        "item": np.where(items < _ROOM["items"], items, 0),
        "tab": (tabs.keys % np.uint64(_TABS)).astype(np.int64) + 1
        if isinstance(tabs, Ids)
        else np.zeros(len(users), np.int64),
        "hour": ms_of_day // 3_600_000,
        TOLD: _padded(clicks, _history(hour), len(users)),
    }


def _padded(clicks: Clicks, history: Ids | None, count: int) -> Ints:
    """[B, 20]: the last items, 0 where there are fewer."""
    padded = np.zeros((count, _LENGTH), np.int64)
    if history is not None:
        rows = found(clicks.items, history.keys)
        for row, (begin, end) in enumerate(
            zip(history.offsets[:-1], history.offsets[1:], strict=True)
        ):
            last = rows[max(begin, end - _LENGTH) : end]
            padded[row, : len(last)] = np.where(last < _ROOM["items"], last, 0)
    return padded


def _history(hour: Hour) -> Ids | None:
    history = hour.clicked.query.get(TOLD)
    return history if isinstance(history, Ids) else None


@dataclass(frozen=True)
class Library:
    """A peer, and the settings that are tried of it."""

    name: str
    needs: tuple[str, ...]
    made: Callable[..., Peer]
    settings: tuple[Setting, ...]

    def is_there(self) -> bool:
        return all(importlib.util.find_spec(name) for name in self.needs)


LIBRARIES = (
    Library(
        "implicit ALS",
        ("implicit", "scipy"),
        Implicit,
        tuple(
            {
                "kind": "als",
                "factors": factors,
                "regularization": regularization,
                "alpha": alpha,
                "use_cg": False,  # the conjugate gradients came to NaN at 8 factors
            }
            for factors in (8, 16)
            for regularization in (10.0, 30.0, 100.0)
            for alpha in (10.0, 40.0)
        ),
    ),
    Library(
        "implicit BPR",
        ("implicit", "scipy"),
        Implicit,
        tuple(
            {
                "kind": "bpr",
                "factors": 32,
                "learning_rate": rate,
                "regularization": regularization,
                "iterations": iterations,
            }
            for rate in (0.05, 0.2)
            for regularization in (0.01, 0.1)
            for iterations in (50, 150)
        ),
    ),
    Library(
        "torch-rechub DSSM",
        ("torch_rechub",),
        Dssm,
        (
            {"negatives": 3, "temperature": 1.0, "lr": 1e-3, "epochs": 2},
            {"negatives": 3, "temperature": 0.2, "lr": 1e-3, "epochs": 2},
            {"negatives": 10, "temperature": 0.2, "lr": 1e-3, "epochs": 1},
            {"negatives": None, "temperature": 0.2, "lr": 1e-3, "epochs": 1},
        ),
    ),
)


def chosen(library: Library, days: Sequence[Day], fallback: Mapping[int, Keys]) -> Setting:
    """The setting that finds most on the last of these days."""
    recalls = [
        scored(library, setting, days, fallback, seed=1).recall()["recall@100"] or 0.0
        for setting in library.settings
    ]
    return library.settings[int(np.argmax(recalls))]


def scored(
    library: Library,
    setting: Setting,
    days: Sequence[Day],
    fallback: Mapping[int, Keys],
    *,
    seed: int,
) -> Tally:
    """Each scored day by what was learnt of the days before it."""
    torch.set_num_threads(1)
    peer, clicks, tally = library.made(setting, seed=seed), Clicks(), Tally()
    new: list[Hour] = []
    for day in days:
        if day.is_scored:
            peer.night(clicks, new)
            new = []
        for hour in day.hours:
            if day.is_scored:
                lists, own = peer.lists(clicks, hour)
                rest = fallback[to_unix_ms(hour.at)]
                lists[~own, : len(rest)] = rest
                tally.add(positions_of(hour.clicked.rows.item_keys, lists))
            clicks.add(hour)
            new.append(hour)
    return tally
