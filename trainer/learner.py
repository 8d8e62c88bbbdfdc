"""One training step, and what it may change.

The leaves of autograd are the pooled inputs of the towers, not the tables: forward and backward run
on them, then their gradients go to the rows of this batch and to nothing else. Where `Rates` names
ID tables only, no dense weight and no side table is even in reach of an optimizer.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from trainer import row_optimizer
from trainer.auxiliary import auxiliary_loss
from trainer.choices import Choices, draw
from trainer.dense import DenseOptimizer
from trainer.epoch import Batch, Floats, Ints, Rows
from trainer.frequency import FrequencyEstimator
from trainer.kernel import chunked_loss
from trainer.labels import EVERY_ROW
from trainer.losses import function_of
from trainer.negatives import Run, union_of
from trainer.negatives.stock import Stock
from trainer.negatives.union import Union, log_q_of
from trainer.rates import Rates
from trainer.row_optimizer import Incidence, RowGradients, incidence_of
from twintide.arrays import Arrays
from twintide.errors import Refused
from twintide.features.kind import SIDES, Side
from twintide.keys import NO_KEYS, Keys
from twintide.model.sequences import readers_of
from twintide.model.two_tower import NO_VECTORS, PooledRows, TwoTower, best_device
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded
from twintide.rowstore import Parts
from twintide.vectorstore import Vectors

READ_AHEAD = 4
MS_OF_HOUR = 3_600_000
NO_ROWS = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Part:
    """What of a batch one objective learns from: its positives."""

    rows: Ints | None
    """Their numbers in the batch; None for all."""

    choices: Choices
    """Without log Q."""


@dataclass(frozen=True)
class Prepared:
    """A batch whose ids are rows. B rows of slices, U distinct candidates."""

    batch: Batch
    rows: dict[Side, dict[str, PooledRows]]
    incidences: dict[str, Incidence]
    parts: dict[str, Part]
    """By objective."""

    log_q: Floats
    """[U]: log probability that each candidate is in the batch."""


class Learner:
    """A model with what it learns by: row accumulators, Adam's moments, frequency estimator."""

    def __init__(
        self,
        model: TwoTower,
        *,
        estimator: FrequencyEstimator,
        dense: DenseOptimizer,
        pool: Keys = NO_KEYS,
    ) -> None:
        """`pool`: items of the clicks that were learnt last, where the model remembers them."""
        self.model = model
        self.estimator = estimator
        self._pool = pool
        self.new_rows = dict[str, Ints]()
        """By table: rows that an id got since `begin`."""

        self._dense = dense
        self._objectives = model.spec.every_objective()
        self._losses = {
            name: function_of(objective.loss) for name, objective in self._objectives.items()
        }
        self._readers = {each: readers_of(model.spec, each) for each in model.tables}

    @classmethod
    def untrained(
        cls, spec: ModelSpec, *, seed: int, vectors: Mapping[str, Vectors] = NO_VECTORS
    ) -> "Learner":
        model = TwoTower.untrained(spec, seed=seed, device=best_device(), vectors=vectors)
        return cls(
            model,
            estimator=FrequencyEstimator.fresh(spec.frequency),
            dense=DenseOptimizer(model.towers, {}, paces=model.towers.paces()),
        )

    def union_for(
        self, rows: Rows, order: list[Ints], stock: Stock | None, *, seed: int
    ) -> Union | None:
        """What other sources of negatives than the clicks bring to these batches, if any do."""
        if not self.model.spec.has_sources():
            return None
        if stock is None:
            raise ValueError("the model draws negatives from a catalogue, and none is given")
        return union_of(self.model.spec, Run(stock, rows, order, self._pool), seed=seed)

    def learn(
        self,
        rows: Rows,
        order: Sequence[Ints],
        rates: Rates,
        *,
        seed: int,
        union: Union | None = None,
        first: int = 0,
    ) -> Iterator[float]:
        """One step for each batch of row numbers, in order, from number `first` on; yields each
        step's mean loss a row.

        A second thread looks rows up and estimates log Q for the next batches meanwhile. Raises
        Refused, naming the batch, before a loss or a gradient that is not finite changes a weight.
        """
        batch_of = _own_columns if union is None else union.batch
        learns_dense = rates.dense_learning_rate is not None
        with self._in_training(dense=learns_dense), ThreadPoolExecutor(max_workers=1) as reader:
            to_come = islice(enumerate(order), first, None)
            ahead = (partial(batch_of, rows, step, numbers) for step, numbers in to_come)
            pending = deque(
                reader.submit(self._prepare, batch, rates) for batch in islice(ahead, READ_AHEAD)
            )
            while pending:
                prepared = pending.popleft().result()
                for batch in islice(ahead, 1):
                    pending.append(reader.submit(self._prepare, batch, rates))
                with self._drawing_by(seed):
                    loss = self._step(prepared, rates)
                yield loss
        self.has_learnt(rows)

    def has_learnt(self, rows: Rows) -> None:
        """Remember these clicks as the ones that were learnt last, where the model does so."""
        if remembered := self.model.spec.pooled_clicks():
            self._pool = np.concatenate((self._pool, rows.new().item_keys))[-remembered:]

    @contextmanager
    def _in_training(self, *, dense: bool) -> Iterator[None]:
        """In here, where dense weights learn, and nowhere else, towers are in train mode."""
        towers = self.model.towers
        towers.requires_grad_(requires_grad=dense).train(mode=dense)
        try:
            yield
        finally:
            towers.requires_grad_(requires_grad=False).eval()

    @contextmanager
    def _drawing_by(self, seed: int) -> Iterator[None]:
        """What towers draw at random is a function of the run's seed and of the steps that their
        weights have taken, so that a rebuild draws the same.
        """
        generator = _generator_of(self.model.device)
        before = generator.get_state()
        generator.manual_seed((seed * _FAR_APART + self._dense.steps) % 2**63)
        try:
            yield
        finally:
            generator.set_state(before)

    def at(self, parts: Parts, *, vectors: Mapping[str, Vectors]) -> "Learner":
        """This learner as it was when it gave `parts`, where what is new is what is new to it."""
        found = Learner.from_parts(self.model.spec, parts, vectors=vectors)
        found.new_rows = dict(self.new_rows)
        return found

    def observe(self, rows: Rows) -> None:
        """Let what is standardised, features and numbers that are learnt, be scaled by these rows
        as well, from now on.
        """
        self.model.observe(rows.query, "query")
        self.model.observe(rows.candidate, "candidate")
        for name, objective in self._objectives.items():
            labels = rows.labels.get(name, EVERY_ROW)
            if labels.targets is not None:
                of_positives = slice(None) if labels.positive is None else labels.positive
                known = labels.targets[of_positives]
                self.model.observe_numbers(name, objective.loss.scaled(known))

    def estimate_log_q(self, rows: Rows, order: Iterable[Ints]) -> Floats:
        """[N]: log Q of each click's item in its batch, where batches come in this order.

        For an epoch that is learnt in another order than that of time: what is drawn in an hour is
        as probable as it was in that hour, whenever the hour is learnt.
        """
        log_q = np.zeros(len(rows), np.float32)
        for numbers in order:
            own = rows.distinct(numbers)
            log_q[numbers] = self.estimator.observe(own.item_keys, own.clicks)[own.column]
        return log_q

    def estimate_union(
        self, rows: Rows, order: Sequence[Ints], by_time: Iterable[int], union: Union
    ) -> tuple[Rows, Union]:
        """As `estimate_log_q`, where other sources bring columns too: rows that know their log Q,
        and a union that knows it of the columns that it brings. `by_time`: numbers of the batches.
        """
        log_q, of_brought = np.zeros(len(rows), np.float32), dict[int, Floats]()
        for step in by_time:
            own = rows.distinct(order[step])
            log_q[order[step]] = self.estimator.observe(own.item_keys, own.clicks)[own.column]
            brought = union.brought(rows, step, order[step])
            of_brought[step] = self.estimator.expected(brought, int(own.clicks.sum()))
        return replace(rows, log_q=log_q), replace(union, log_q=of_brought)

    def begin(self) -> None:
        """Let no row of a table be new any more: what is learnt next are other rows."""
        self.new_rows.clear()

    def grow(self, rows: Rows, rates: Rates) -> None:
        """Give every id of these rows that its table admits a row in the tables that learn, before
        any batch is prepared.

        From then on look-ups only read, so that the reading thread may run ahead. Those rows are
        new until the next `begin`. What is learnt again was seen before.
        """
        rows = rows.new()
        hours = rows.unit_ms // MS_OF_HOUR
        told = {
            "query": self.model.told(rows.query, "query"),
            "candidate": self.model.told(rows.candidate, "candidate"),
        }
        for table in rates.tables:
            seen = [
                (ids.keys, np.repeat(hours, np.diff(ids.offsets)))
                for reader in self._readers[table]
                if (ids := told[reader.side].get(reader.name)) is not None
            ]
            if seen:
                keys, of_hours = (np.concatenate(each) for each in zip(*seen, strict=True))
                given = self.model.tables[table].sight(keys, of_hours)
                before = self.new_rows.get(table, NO_ROWS)
                self.new_rows[table] = np.concatenate((before, given))

    def _prepare(self, batch_of: Callable[[], Batch], rates: Rates) -> Prepared:
        batch = batch_of()
        encoded: dict[Side, Encoded] = {"query": batch.query, "candidate": batch.candidate}
        rows = {side: self.model.rows_of(encoded[side], side) for side in SIDES}
        incidences = {
            table: incidence_of([rows[each.side][each.name] for each in self._readers[table]])
            for table in rates.tables
        }
        parts = {name: self._part(batch, name) for name in self._objectives}
        return Prepared(batch, rows, incidences, parts, self._log_q(batch))

    def _part(self, batch: Batch, objective: str) -> Part:
        labels = batch.labels.get(objective, EVERY_ROW)
        loss = self._objectives[objective].loss
        rows = labels.rows()
        if labels.targets is not None:
            numbers = self.model.on_scale(objective, loss.scaled(labels.targets))
            own = Choices(batch.target, numbers=numbers, weights=labels.weights)
            return Part(rows, own if rows is None else own.take(rows))
        choices = Choices(batch.target, forbidden=batch.forbidden, weights=labels.weights)
        if batch.added is not None:
            choices = replace(choices, open=batch.added.open, hard=batch.added.hard)
            if (hard := self.model.spec.hard()) is not None:
                choices = replace(choices, hard_share=hard.share)
        if rows is not None:
            choices = choices.take(rows)
        if (count := loss.drawn()) is not None:
            choices = replace(choices, drawn=draw(choices, batch.item_keys, count))
        return Part(rows, choices)

    def _step(self, prepared: Prepared, rates: Rates) -> float:
        batch = prepared.batch
        inputs: dict[Side, Tensor] = {
            "query": self.model.pooled(
                batch.query, prepared.rows["query"], "query"
            ).requires_grad_(),
            "candidate": self.model.pooled(
                batch.candidate, prepared.rows["candidate"], "candidate"
            ).requires_grad_(),
        }
        loss = self._loss(prepared, inputs, rates)
        value = float(loss.detach()) * rates.batch_rows / len(batch.target)
        if not np.isfinite(value):
            raise Refused(
                f"the loss of {batch.name} is {value}; nothing of it was learnt",
                hint="look for extreme numbers in the dense features of those clicks",
            )
        if not loss.requires_grad:  # no row of the batch is a positive of any objective
            return value
        loss.backward()
        gradients = self._row_gradients(prepared, inputs)
        squares = [each.squares_R.sum() for each in gradients.values()]
        if rates.dense_learning_rate is not None:
            squares.append(self._dense.squares())
        if squares and not np.isfinite(float(torch.stack(squares).sum())):
            raise Refused(
                f"a gradient of {batch.name} is not finite; nothing of it was learnt",
                hint="look for extreme numbers in the dense features of those clicks",
            )
        for table, each in gradients.items():
            limit = rates.clip_rows_at
            row_optimizer.step(
                self.model.tables[table],
                each if limit is None else row_optimizer.clipped(each, at=limit),
                learning_rate=self._rate_of_rows(table, each, rates),
            )
        if rates.dense_learning_rate is not None:
            self._dense.step(learning_rate=rates.dense_learning_rate)
        return value

    def _log_q(self, batch: Batch) -> Floats:
        """[U]: log probability that each column is in the batch."""
        if (added := batch.added) is None:
            known = batch.log_q
            return self._observed(batch, batch.item_keys) if known is None else known
        own, brought = batch.log_q, added.log_q
        if own is None:
            own = self._observed(batch, batch.item_keys[: added.first])
        if brought is None:
            rows = int(batch.clicks.sum()) + batch.replayed
            brought = self.estimator.expected(batch.item_keys[added.first :], rows)
        return log_q_of(added, np.concatenate((own, brought)))

    def _observed(self, batch: Batch, item_keys: Keys) -> Floats:
        """Of the clicks' own columns. A click that is learnt again makes its column as probable as
        another click would, and is none that the estimator has not seen.
        """
        if not batch.replayed:
            return self.estimator.observe(item_keys, batch.clicks)
        is_new, log_q = batch.clicks > 0, np.zeros(len(item_keys), np.float32)
        rows = int(batch.clicks.sum()) + batch.replayed
        log_q[is_new] = self.estimator.observe(item_keys[is_new], batch.clicks[is_new], of=rows)
        log_q[~is_new] = self.estimator.expected(item_keys[~is_new], rows)
        return log_q

    def _loss(
        self,
        prepared: Prepared,
        inputs: dict[Side, Tensor],
        rates: Rates,
    ) -> Tensor:
        """The sum over objectives and their positives of what each counts, divided by the rows of
        a whole batch: neither an objective that is seldom meant nor a batch of few moves much.
        """
        towers, log_q = self.model.towers, prepared.log_q if self.model.spec.logq else None
        candidates = towers.candidate_vectors(inputs["candidate"])
        queries = towers.query_vectors(inputs["query"])
        total = inputs["query"].new_zeros(())
        heads = zip(self._objectives.items(), queries, candidates, towers.log_scales(), strict=True)
        for (name, objective), query_BD, (candidate_UD, bias_U), log_scale in heads:
            part = prepared.parts[name]
            if not len(part.choices.target):
                continue
            rows = None if part.rows is None else torch.from_numpy(part.rows).to(query_BD.device)
            mean = chunked_loss(
                query_BD if rows is None else query_BD[rows],
                candidate_UD,
                bias_U=bias_U,
                log_scale=log_scale,
                choices=replace(part.choices, log_q=log_q),
                loss=self._losses[name],
                sharpness=objective.loss.sharpness(),
            )
            if part.choices.numbers is None:  # a row of a small number is nothing to come near to
                mean = mean + auxiliary_loss(
                    self.model, prepared.batch, inputs, rows, query_BD, candidate_UD
                )
            share = len(part.choices.target) / rates.batch_rows
            total = total + mean * (objective.weight * share)
        return total

    def _rate_of_rows(self, table: str, gradients: RowGradients, rates: Rates) -> float | Tensor:
        own = rates.of(table)
        if own.new == own.learning_rate:
            return own.learning_rate
        is_new = np.isin(gradients.rows, self.new_rows.get(table, NO_ROWS))
        rate_R = np.where(is_new, own.new, own.learning_rate).astype(np.float32)
        return torch.from_numpy(rate_R).to(gradients.grad_RD.device)

    def _row_gradients(
        self, prepared: Prepared, inputs: dict[Side, Tensor]
    ) -> dict[str, RowGradients]:
        """By table that learns and that the batch reads rows of."""
        return {
            table: row_optimizer.gradients_of(
                incidence,
                torch.cat([each.rows_in(_grad_of(inputs[each.side])) for each in readers]),
            )
            for table, incidence in prepared.incidences.items()
            if len(incidence.rows) and (readers := self._readers[table])
        }

    def arrays(self) -> Arrays:
        """All that learning goes on from, as whole arrays."""
        return self.parts().whole()

    def parts(self) -> Parts:
        """Tables with their rows' sums, the estimator's cells; weights, Adam's moments, pool."""
        pool = {"negatives.pool": self._pool} if self.model.spec.pooled_clicks() else {}
        told = self.estimator.parts()
        arrays = self.model.small_arrays() | self._dense.arrays() | told.arrays | pool
        return Parts({**self.model.stores(), **told.stores}, arrays)

    @classmethod
    def from_arrays(
        cls, spec: ModelSpec, arrays: Arrays, *, vectors: Mapping[str, Vectors] = NO_VECTORS
    ) -> "Learner":
        """What `arrays` gave. Raises Corrupt where it does not fit the spec."""
        return cls.from_parts(spec, Parts({}, arrays), vectors=vectors)

    @classmethod
    def from_parts(
        cls, spec: ModelSpec, parts: Parts, *, vectors: Mapping[str, Vectors] = NO_VECTORS
    ) -> "Learner":
        """What `parts` gave: it goes on in these stores, and copies the arrays."""
        arrays = parts.arrays
        model = TwoTower.from_arrays(
            spec, arrays, device=best_device(), vectors=vectors, stores=parts.stores
        )
        return cls(
            model,
            estimator=FrequencyEstimator.from_parts(spec.frequency, parts),
            dense=DenseOptimizer(model.towers, arrays, paces=model.towers.paces()),
            pool=arrays["negatives.pool"].astype(np.uint64) if spec.pooled_clicks() else NO_KEYS,
        )


def _grad_of(inputs: Tensor) -> Tensor:
    if inputs.grad is None:
        raise RuntimeError("backward has not run")
    return inputs.grad


def _own_columns(rows: Rows, step: int, numbers: Ints) -> Batch:
    del step
    return rows.batch(numbers)


def _generator_of(device: torch.device) -> torch.Generator:
    """What torch draws from on that device. `torch.manual_seed` seeds every device there may be and
    takes 0.36 ms for it, this one 2 µs.
    """
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator


_FAR_APART = 0x9E3779B97F4A7C15
"""Two runs whose seeds are neighbours draw nothing twice, however many steps they take."""
