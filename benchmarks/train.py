"""How many clicks a second the learner takes, beside the usual way to write it in torch.

    python -m benchmarks.train [--users 200000] [--items 50000] [--rounds 5] [--batch-rows 512 …]

Zipf users and items, histories of up to 20, D = 64, towers 256-128-64, in-batch softmax with logQ.
The contestants take turns within one run; each round takes the same clicks. Printed per contestant:
the median over the rounds of clicks a second, the lowest and highest, and the ratio to the peer.

    peer          nn.EmbeddingBag(sparse=True) + SparseAdam, Adam for dense weights, a [B, B] matrix
                  of logits with accidental hits masked and logQ subtracted; ids are rows already
    nightly       the learner: ids to rows, everything learns
    hourly        the learner: ids to rows, only rows of ID tables learn
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.epoch import Ints, Rows, in_order
from trainer.labels import Labels
from trainer.learner import Learner
from trainer.negatives.stock import Stock
from trainer.rates import Rates
from twintide.clock import monotonic_seconds
from twintide.config import load
from twintide.derived.catalogue import Catalogue
from twintide.derived.clicks import ItemClicks
from twintide.features.item_statistics import ItemStatistics
from twintide.features.sparse import Sparse
from twintide.keys import Keys, keys_of, mixed
from twintide.model.towers import Towers
from twintide.model.two_tower import best_device
from twintide.modelspec import ModelSpec
from twintide.ragged import Ids, Numbers, one_id_each

ROOT = Path(__file__).parents[1]
HISTORY = 20
CATEGORIES = 50
CLICKS = 16_384
HARD = 10
"""Hard negatives of a click."""


def main() -> None:
    """Measure each batch size; print a table for each."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--users", type=int, default=200_000)
    arguments.add_argument("--items", type=int, default=50_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--batch-rows", type=int, action="append")
    chosen = arguments.parse_args()
    torch.set_num_threads(2)
    spec = small_spec()
    stream = Stream(users=chosen.users, items=chosen.items)
    for batch_rows in chosen.batch_rows or [512, 2048]:
        times = in_turns(_contestants(spec, stream, batch_rows), rounds=chosen.rounds)
        show(f"batches of {batch_rows} clicks", times, beside="peer")


def in_turns(
    contestants: dict[str, Callable[[], None]],
    *,
    rounds: int,
    seconds: Callable[[], float] = monotonic_seconds,
) -> dict[str, list[float]]:
    """Clicks a second of each contestant in each round; one more round warms up."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(rounds + 1):
        for name, run in contestants.items():
            began = seconds()
            run()
            if round_number:
                times[name].append(CLICKS / (seconds() - began))
    return times


class Stream:
    """Clicks by row number: users, items, histories, and the features of each item."""

    def __init__(self, *, users: int, items: int) -> None:
        rng = np.random.default_rng(1)
        self.users, self.items = users, items
        self.user = rng.zipf(1.1, CLICKS) % users
        self.item = _zipf(rng, items, CLICKS)
        lengths = rng.integers(0, HISTORY + 1, CLICKS)
        self.offsets = np.concatenate(([0], np.cumsum(lengths)))
        self.history = _zipf(rng, items, int(self.offsets[-1]))
        self.statistics = rng.random((items, 7)).astype(np.float32)
        self.ages = rng.exponential(48, len(self.history)).astype(np.float32)
        self.hard = rng.integers(0, items, CLICKS * HARD)

    def rows(self) -> Rows:
        users, items = (keys_of_range(count) for count in (self.users, self.items))
        user, item = users[self.user], items[self.item]
        category = items[self.item % CATEGORIES]
        return Rows(
            name="the benchmark",
            at_ms=np.zeros(CLICKS, np.int64),
            unit_ms=np.zeros(CLICKS, np.int64),
            item_keys=item,
            query={
                "user": one_id_each(user),
                "augmented": one_id_each(user),
                "history": Ids(items[self.history], self.offsets, ages=self.ages),
            },
            candidate={
                "item": one_id_each(item),
                "augmented": one_id_each(item),
                "category": one_id_each(category),
                "statistics": Numbers(self.statistics[self.item]),
            },
            labels=self._labels(),
            hard=Ids(items[self.hard], np.arange(CLICKS + 1) * HARD),
            events=mixed(np.arange(1, CLICKS + 1, dtype=np.uint64)),
        )

    def stock(self, spec: ModelSpec) -> Stock:
        """All items, known before the first click; each counts its clicks of the stream."""
        statistics = spec.item_statistics()
        if statistics is None:
            raise ValueError("the small model has item statistics")
        zeros, clicks = np.zeros(self.items, np.int64), ItemClicks()
        clicks.add(self.item, np.zeros(CLICKS, np.int64), statistics)
        return Stock(
            catalogue=Catalogue.of(
                tuple(each for each in spec.candidate if each.name == "item"),
                ids=pa.array(np.arange(self.items)),
                first_seen_ms=zeros,
                attributes={"item": one_id_each(keys_of_range(self.items))},
            ),
            clicks=np.bincount(self.item, minlength=self.items),
            statistics=statistics,
            counter=clicks.counter(),
            candidate=spec.candidate,
        )

    def _labels(self) -> dict[str, Labels]:
        """For a model with objectives: one click in ten is a like, and each is watched."""
        rng = np.random.default_rng(2)
        return {
            "like": Labels(rng.random(CLICKS) < 0.1),  # noqa: PLR2004
            "watch": Labels(targets=rng.exponential(30.0, CLICKS).astype(np.float32)),
        }


class Peer(nn.Module):
    """The same model as most people write it."""

    def __init__(self, spec: ModelSpec, stream: Stream) -> None:
        super().__init__()
        self._stream = stream
        self.user = nn.Embedding(stream.users, spec.embedding_width, sparse=True)
        self.item = nn.EmbeddingBag(stream.items, spec.embedding_width, mode="mean", sparse=True)
        self.towers = Towers(spec)
        self._device = device = best_device()
        self.to(device)
        tables = [self.user.weight, self.item.weight]
        self._sparse = torch.optim.SparseAdam(tables, lr=1e-3)
        self._dense = torch.optim.Adam(self.towers.parameters(), lr=1e-3)
        counts = np.bincount(stream.item, minlength=stream.items) / CLICKS
        self._log_q = torch.from_numpy(np.log(counts + 1e-9).astype(np.float32)).to(device)
        self._statistics = torch.from_numpy(stream.statistics).to(device)

    def step(self, begin: int, end: int) -> Tensor:
        """Learn from these clicks; returns the loss, which nobody has waited for yet."""
        stream, device = self._stream, self._device
        item = torch.from_numpy(stream.item[begin:end]).to(device)
        offsets = stream.offsets[begin : end + 1]
        history = self.item(
            torch.from_numpy(stream.history[offsets[0] : offsets[-1]]).to(device),
            torch.from_numpy(offsets[:-1] - offsets[0]).to(device),
        )
        user = self.user(torch.from_numpy(stream.user[begin:end]).to(device))
        own = self.item(item[:, None])
        inputs = torch.cat((own, self._statistics[item]), dim=1)
        ((vectors, bias),) = self.towers.candidate_vectors(inputs)
        (queries,) = self.towers.query_vectors(torch.cat((user, history), dim=1))
        logits = queries @ vectors.T
        logits = logits * self.towers.log_scale.exp() + bias - self._log_q[item]
        hits = (item[:, None] == item[None, :]).fill_diagonal_(fill_value=False)
        loss: Tensor = F.cross_entropy(
            logits.masked_fill(hits, -torch.inf), torch.arange(end - begin, device=device)
        )
        self._sparse.zero_grad()
        self._dense.zero_grad()
        loss.backward()
        self._sparse.step()
        self._dense.step()
        return loss.detach()


def _contestants(spec: ModelSpec, stream: Stream, batch_rows: int) -> dict[str, Callable[[], None]]:
    rows = stream.rows()
    order = list(in_order(CLICKS, batch_rows=batch_rows))
    peer = Peer(spec, stream)

    def run_peer() -> None:
        losses = [peer.step(int(numbers[0]), int(numbers[-1]) + 1) for numbers in order]
        float(losses[-1])  # on a GPU this waits for all of them

    tables = ("user", "item")
    return {
        "peer": run_peer,
        "nightly": learner_run(spec, rows, order, Rates(tables, 0.1, 1e-3, batch_rows), epoch=True),
        "hourly": learner_run(spec, rows, order, Rates(tables, 0.1, None, batch_rows), epoch=False),
    }


def learner_run(
    spec: ModelSpec,
    rows: Rows,
    order: list[Ints],
    rates: Rates,
    *,
    epoch: bool,
    stock: Stock | None = None,
) -> Callable[[], None]:
    """One pass of our learner over the rows; of an `epoch` log Q is estimated beforehand. A model
    that draws negatives draws them from `stock`.
    """
    rows = replace(
        rows,
        query={each.name: rows.query[each.name] for each in spec.query},
        candidate={each.name: rows.candidate[each.name] for each in spec.candidate},
    )
    model = Learner.untrained(spec, seed=1)
    model.grow(rows, rates)

    def run() -> None:
        log_q = model.estimate_log_q(rows, order) if epoch else None
        for _ in model.learn(replace(rows, log_q=log_q), order, rates, seed=1):
            pass

    def run_with_sources() -> None:
        union = model.union_for(rows, order, stock, seed=1)
        if union is None:
            raise ValueError("the model has no other sources than the batch")
        known, union = model.estimate_union(rows, order, range(len(order)), union)
        for _ in model.learn(known, order, rates, seed=1, union=union):
            pass

    return run_with_sources if spec.has_sources() else run


def compare(variants: Callable[[ModelSpec], dict[str, ModelSpec]], *, beside: str) -> None:
    """Measure variants of the small model in turns, as the command line says; print a table for
    each batch size, with the ratio to one of them.
    """
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--batch-rows", type=int, action="append")
    arguments.add_argument("--processor", action="store_true")
    chosen = arguments.parse_args()
    seconds = time.process_time if chosen.processor else monotonic_seconds
    torch.set_num_threads(2)
    specs, stream = variants(small_spec()), Stream(users=200_000, items=50_000)
    rows, stock = stream.rows(), stream.stock(small_spec())
    for batch_rows in chosen.batch_rows or [512, 2048]:
        order = list(in_order(len(rows), batch_rows=batch_rows))
        contestants = {
            name: learner_run(
                spec,
                rows,
                order,
                Rates(spec.learning_tables(), 0.1, 1e-3, batch_rows),
                epoch=True,
                stock=stock,
            )
            for name, spec in specs.items()
        }
        times = in_turns(contestants, rounds=chosen.rounds, seconds=seconds)
        show(f"batches of {batch_rows} clicks", times, beside=beside)


def small_spec() -> ModelSpec:
    """The quickstart's model, without its side tables."""
    spec = load(ROOT / "configs" / "quickstart.yaml").model
    return spec.model_copy(
        update={
            "query": tuple(f for f in spec.query if f.name in {"user", "history"}),
            "candidate": tuple(
                f
                for f in spec.candidate
                if isinstance(f, ItemStatistics) or (isinstance(f, Sparse) and f.name == "item")
            ),
        }
    )


def _zipf(rng: np.random.Generator, count: int, size: int) -> npt.NDArray[np.int64]:
    weights = 1.0 / np.arange(1, count + 1)
    return rng.choice(count, size, p=weights / weights.sum())


def keys_of_range(count: int) -> Keys:
    return keys_of(pa.array(np.arange(count)))


def show(title: str, times: dict[str, list[float]], *, beside: str) -> None:
    """Print the medians, and the ratio to one of the contestants."""
    table = Table(title=title)
    for column in ("contestant", "clicks/s", "lowest", "highest", f"ratio to the {beside}"):
        table.add_column(column, justify="left" if column == "contestant" else "right")
    base = statistics.median(times[beside])
    for name, rates in times.items():
        middle = statistics.median(rates)
        table.add_row(
            name,
            f"{middle:,.0f}",
            f"{min(rates):,.0f}",
            f"{max(rates):,.0f}",
            f"{middle / base:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
