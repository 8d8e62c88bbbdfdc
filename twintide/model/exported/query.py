"""The query side of a version: encoded requests in, what the index is searched with out.

Shapes: B requests, X inputs, O objectives, D width of a vector.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from twintide.arrays import Arrays
from twintide.features.kind import Kind
from twintide.features.kind import LookedUp as LookingUp
from twintide.model.exported.one import tower
from twintide.model.exported.sequences import Encoder
from twintide.model.exported.tables import Fixed, LookedUp, pooled, rows_in, stored_rows
from twintide.model.exported.weights import Floats, Weights
from twintide.model.scales import Scales
from twintide.model.shares import number_scales, shares
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded, Ids, Numbers, as_ids, as_numbers, in_slots
from twintide.rowstore import NO_STORES, RowStore
from twintide.vectorstore import Vectors

Input = Callable[[Ids | Numbers], Floats]
"""The rows of one feature, [B], to what of the inputs is its own, [B, width]."""

NOTHING_MADE: Mapping[str, Floats] = MappingProxyType({})

_SHORTEST = np.float32(1e-12)
"""A vector that is shorter has no direction, and stays as short."""


class QueryTower:
    """Tables and tower of queries. It only reads, and any number of threads may ask it."""

    def __init__(
        self,
        spec: ModelSpec,
        arrays: Arrays,
        vectors: Mapping[str, Vectors],
        *,
        stores: Mapping[str, RowStore] = NO_STORES,
    ) -> None:
        """Tables are those in `stores`, or where there are none in `arrays`. Raises Corrupt where
        one of them, or a weight, is not that of the declared model.
        """
        self.spec = spec
        self._tables: dict[str, LookedUp] = {name: Fixed(each) for name, each in vectors.items()}
        for name in spec.learning_tables(("query",)):
            width = spec.table_width(name)
            self._tables[name] = (
                stored_rows(stores, name, width=width)
                if f"table.{name}" in stores
                else rows_in(arrays, name, width=width)
            )
        self.scales = Scales(_scale(each) for each in spec.query if each.is_standardised())
        self._number_scales = number_scales(spec)
        for scales in (self.scales, self._number_scales):
            scales.load(arrays)
        self._objectives = len(spec.every_objective())
        self._log_scales = _log_scales(spec, arrays)
        weights = Weights(arrays, "dense.query.")
        below = weights.under("tower." if spec.sequences("query") else "")
        self._tower = tower(spec.tower_of("query"), spec.shape("query"), below)
        looking_up = {each.name: self._of_ids(each, weights) for each in spec.lookups("query")}
        self._inputs = {
            each.name: looking_up.get(each.name) or self._of_numbers(each) for each in spec.query
        }
        weights.check_all_taken()

    def looked_up(self, table: str) -> LookedUp:
        """What features look up under this name."""
        return self._tables[table]

    def input_of(self, name: str, rows: Ids | Numbers) -> Floats:
        """float32 [B, width]: what of the inputs one feature makes, which never changes."""
        return self._inputs[name](rows)

    def query_vectors(
        self,
        encoded: Encoded,
        weights: Mapping[str, float] | None = None,
        *,
        made: Mapping[str, Floats] = NOTHING_MADE,
    ) -> Floats:
        """float32 [B, O · (D + 1)], as of `TwoTower.query_vectors`; `made` has what `input_of`
        gave, of the features that it has.
        """
        # What is not finite is found by whoever asks, without a warning of numpy's.
        with np.errstate(invalid="ignore", over="ignore"):
            made_BX = self.inputs(encoded, made)
            made_BOD = self._tower(made_BX).reshape(
                len(made_BX), self._objectives, self.spec.output_width
            )
            return self._weighed(self._with_ones(made_BOD), weights)

    def inputs(self, encoded: Encoded, made: Mapping[str, Floats] = NOTHING_MADE) -> Floats:
        """[B, X]: what the tower is given."""
        parts = [
            made[name] if name in made else run(encoded[name]) for name, run in self._inputs.items()
        ]
        return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def _with_ones(self, made_BOD: Floats) -> Floats:
        """[B, O, D + 1]: each vector, of length 1 where its direction counts, and a 1 behind it."""
        found = np.ones((*made_BOD.shape[:2], self.spec.output_width + 1), np.float32)
        if self.spec.similarity != "cosine":
            found[:, :, :-1] = made_BOD
            return found
        lengths = np.sqrt(np.vecdot(made_BOD, made_BOD))[:, :, None]
        # A length that is infinite would make a vector of zeros, and the answer that of the bias
        # alone: such a vector is no number, and is found.
        lengths += lengths - lengths
        np.divide(made_BOD, np.maximum(lengths, _SHORTEST), out=found[:, :, :-1])
        return found

    def _weighed(self, vectors_BOD: Floats, weights: Mapping[str, float] | None) -> Floats:
        """[B, O · (D + 1)]: each vector times what its objective counts."""
        if self._objectives > 1:
            counted = shares(self.spec, self._log_scales, self._number_scales, weights)
            vectors_BOD *= np.array(counted, np.float32)[:, None]
        count, objectives, width = vectors_BOD.shape
        return vectors_BOD.reshape(count, objectives * width)

    def _of_ids(self, feature: LookingUp, weights: Weights) -> Input:
        table, sequence = self._tables[feature.table], feature.sequence()
        if feature.is_one_id:
            return lambda rows: table.take(table.rows_of(as_ids(rows).keys))
        if sequence is None:
            pooling = feature.pools()

            def pool(rows: Ids | Numbers) -> Floats:
                ids = feature.told(as_ids(rows))
                return pooled(
                    table.take(table.rows_of(ids.keys)), ids.offsets, pooling, ids.weights
                )

            return pool
        width, slots = self.spec.table_width(feature.table), sequence.length
        encoder = Encoder(sequence, width, weights.under(f"encoders.{feature.name}."))

        def encode(rows: Ids | Numbers) -> Floats:
            ids = as_ids(rows)
            return encoder(table.take(table.rows_of(ids.keys)), in_slots(ids, slots), ids)

        return encode

    def _of_numbers(self, feature: Kind) -> Input:
        return lambda rows: self.scales.scaled(_scale(feature), as_numbers(rows).values)


def _log_scales(spec: ModelSpec, arrays: Arrays) -> list[float]:
    """−log(temperature) of each objective, where there are several."""
    count = len(spec.every_objective())
    if count == 1:
        return [0.0]
    found: list[float] = Weights(arrays, "dense.").take("log_scale", count).tolist()
    return found


def _scale(feature: Kind) -> str:
    return f"query.{feature.name}"
