"""A two-tower model that can be applied: encoded features in, vectors out.

The vectors that leave here are made for an inner-product index: a candidate is (v, bias ·
temperature) and a query is (q, 1), so that one product orders items as the training score does.
Of several objectives these stand side by side, each part of a query times what its objective counts
by 1 / temperature, so that the product orders by the weighted sum of the scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from twintide.errors import Corrupt, words_of
from twintide.features.kind import LookedUp, Side
from twintide.model.fixed import FixedTable
from twintide.model.scales import Scales
from twintide.model.sequences import laid_out
from twintide.model.shares import number_of, number_scales, shares
from twintide.model.table import Table
from twintide.model.towers import Towers
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded, Ids, Numbers, in_slots
from twintide.rowstore import NO_STORES, RowNumbers, RowStore, Stores
from twintide.vectorstore import Vectors

Arrays = dict[str, npt.NDArray[np.generic]]
NO_VECTORS: Mapping[str, Vectors] = MappingProxyType({})


@dataclass(frozen=True)
class PooledRows:
    """One id feature of a batch, as table rows: bag i pools rows[offsets[i]:offsets[i + 1]]."""

    rows: RowNumbers
    offsets: npt.NDArray[np.int64]
    pooling: str
    weights: npt.NDArray[np.float32] | None = None
    """What each row counts in its bag, which is a sum then."""

    is_one_each: bool = field(init=False)
    """Whether each bag is one row."""

    def __post_init__(self) -> None:
        # Here, since who prepares a batch does it beside the step before.
        object.__setattr__(self, "is_one_each", bool((np.diff(self.offsets) == 1).all()))


def best_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class TwoTower:
    """Tables and towers together. The towers are in eval mode; a learner alone switches that."""

    def __init__(
        self,
        spec: ModelSpec,
        tables: dict[str, Table],
        towers: Towers,
        *,
        fixed: Mapping[str, FixedTable] = MappingProxyType({}),
    ) -> None:
        """`tables` learn, `fixed` never do; no name is in both."""
        self.spec = spec
        self.tables = tables
        self.towers = towers.eval()
        self.scales = Scales(
            _scale(side, feature.name)
            for side, feature in spec.all_features()
            if feature.is_standardised()
        )
        self.number_scales = number_scales(spec)
        self.fixed = fixed

    @classmethod
    def untrained(
        cls,
        spec: ModelSpec,
        *,
        seed: int,
        device: torch.device,
        vectors: Mapping[str, Vectors] = NO_VECTORS,
    ) -> "TwoTower":
        """Empty tables, and towers whose first weights are a function of the seed.

        `vectors` are those of the tables of fixed vectors that the sides to be applied read.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            towers = Towers(spec).to(device)
        tables = {
            name: Table.empty(spec.table_width(name), spec.table_rule(name), device=device)
            for name in spec.learning_tables()
        }
        fixed = {name: FixedTable(each, device=device) for name, each in vectors.items()}
        return cls(spec, tables, towers, fixed=fixed)

    def looked_up(self, table: str) -> Table | FixedTable:
        """What features look up under this name."""
        found = self.tables.get(table)
        return self.fixed[table] if found is None else found

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.towers.log_scale.device

    def rows_of(self, encoded: Encoded, side: Side) -> dict[str, PooledRows]:
        """Each id feature's keys as rows of its table; ids that it does not know are row 0."""
        told = self.told(encoded, side)
        return {
            feature.name: PooledRows(
                rows=self.looked_up(feature.table).rows_of(told[feature.name].keys),
                offsets=self._offsets(told[feature.name], feature),
                pooling=feature.pools(),
                weights=told[feature.name].weights,
            )
            for feature in self.spec.lookups(side)
            if feature.name in told
        }

    def told(self, encoded: Encoded, side: Side) -> dict[str, Ids]:
        """The ids of each id feature that are looked up."""
        return {
            feature.name: feature.told(ids)
            for feature in self.spec.lookups(side)
            if isinstance(ids := encoded[feature.name], Ids)
        }

    @staticmethod
    def _offsets(ids: Ids, feature: LookedUp) -> npt.NDArray[np.int64]:
        """Of bags: one for each row, or in a sequence one for each slot."""
        sequence = feature.sequence()
        return ids.offsets if sequence is None else in_slots(ids, sequence.length)

    def pooled(self, encoded: Encoded, rows: dict[str, PooledRows], side: Side) -> Tensor:
        """[B, X]: the inputs of a tower, without gradient into the tables; those of a sequence as
        `ModelSpec.inputs` says.
        """
        parts = {}
        with torch.no_grad():
            for feature in self.spec.lookups(side):
                found = self._bags(self.looked_up(feature.table), rows[feature.name])
                ids = encoded[feature.name]
                if isinstance(ids, Ids) and (sequence := feature.sequence()) is not None:
                    found = laid_out(found, rows[feature.name].offsets, ids, sequence)
                parts[feature.name] = found
            for name, values in encoded.items():
                if isinstance(values, Numbers):
                    scaled = self.scales.scaled(_scale(side, name), values.values)
                    numbers = torch.from_numpy(np.require(scaled, requirements=["C", "W"]))
                    parts[name] = numbers.to(self.device)
            return torch.cat([parts[each.name] for each in self.spec.features(side)], dim=1)

    def observe(self, encoded: Encoded, side: Side) -> None:
        """Let standardised numbers be scaled by these as well, from now on."""
        for name, values in encoded.items():
            if isinstance(values, Numbers):
                self.scales.observe(_scale(side, name), values)

    def observe_numbers(self, objective: str, numbers: npt.NDArray[np.float32]) -> None:
        """Let the numbers that an objective learns be scaled by these as well, from now on."""
        self.number_scales.observe(number_of(objective), Numbers(numbers[:, None]))

    def on_scale(self, objective: str, numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """[N]: numbers that an objective learns, as its score is to give them."""
        return self.number_scales.scaled(number_of(objective), numbers)

    def _bags(self, table: Table | FixedTable, pooled: PooledRows) -> Tensor:
        rows, weights = table.gathered(pooled.rows)
        if pooled.weights is None and pooled.is_one_each:
            return F.embedding(rows, weights)
        offsets = torch.from_numpy(pooled.offsets[:-1]).to(self.device)
        if pooled.weights is None:
            return F.embedding_bag(rows, weights, offsets, mode=pooled.pooling)
        weights_of_ids = np.require(pooled.weights, requirements=["C", "W"])
        counts = torch.from_numpy(weights_of_ids).to(self.device)
        return F.embedding_bag(rows, weights, offsets, mode="sum", per_sample_weights=counts)

    def query_vectors(
        self, encoded: Encoded, weights: Mapping[str, float] | None = None
    ) -> npt.NDArray[np.float32]:
        """float32 [B, O · (D + 1)]: what is searched with. `weights`: what each objective counts,
        of which one at least is above 0; those that are not named count nothing.
        """
        with torch.inference_mode():
            inputs = self.pooled(encoded, self.rows_of(encoded, "query"), "query")
            parts = []
            vectors = self.towers.query_vectors(inputs)
            for share, each in zip(self._shares(weights), vectors, strict=True):
                with_one = torch.cat((each, each.new_ones(len(each), 1)), dim=1)
                parts.append(with_one if share == 1.0 else with_one * share)
            return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).cpu().numpy()

    def _shares(self, weights: Mapping[str, float] | None) -> list[float]:
        log_scales = self.towers.log_scale.double().reshape(-1).tolist()
        return shares(self.spec, log_scales, self.number_scales, weights)

    def candidate_vectors(
        self, encoded: Encoded, *, rows_at_once: int = 65_536
    ) -> npt.NDArray[np.float32]:
        """float32 [U, O · (D + 1)]: what is indexed."""
        count = len(next(iter(encoded.values())))
        found = [np.zeros((0, self.spec.index_width()), np.float32)]
        with torch.inference_mode():
            for begin in range(0, count, rows_at_once):
                some = {
                    name: feature.take(np.arange(begin, min(begin + rows_at_once, count)))
                    for name, feature in encoded.items()
                }
                inputs = self.pooled(some, self.rows_of(some, "candidate"), "candidate")
                parts: list[Tensor] = []
                for (vectors, bias), log_scale in zip(
                    self.towers.candidate_vectors(inputs), self.towers.log_scales(), strict=True
                ):
                    parts += (vectors, (bias * torch.exp(-log_scale))[:, None])
                found.append(torch.cat(parts, dim=1).cpu().numpy())
        return np.concatenate(found)

    def arrays(self, sides: tuple[Side, ...] = ("query", "candidate")) -> Arrays:
        """All that is applied, by name, as it is written to disk: `dense.…`, `scale.…`,
        `table.<name>.weights|keys`.

        With one side only: what that tower needs, as a version carries it for the server.
        """
        found = self.small_arrays(sides)
        for name in self.spec.learning_tables(sides):
            found[f"{_TABLE}{name}.weights"] = self.tables[name].weights.detach().cpu().numpy()
            found[f"{_TABLE}{name}.keys"] = self.tables[name].keys
        return found

    def small_arrays(self, sides: tuple[Side, ...] = ("query", "candidate")) -> Arrays:
        """The same without tables."""
        found: Arrays = {
            name: array
            for name, array in self.scales.arrays().items()
            if name.startswith(tuple(f"scale.{side}." for side in sides))
        }
        weighs_objectives = sides != ("query",) or len(self.spec.every_objective()) > 1
        if weighs_objectives:
            found |= self.number_scales.arrays()
        for name, tensor in self.towers.state_dict().items():
            if (
                name.startswith("query.")
                or sides != ("query",)
                or (name == "log_scale" and weighs_objectives)
            ):
                found[f"dense.{name}"] = tensor.detach().cpu().numpy()
        return found

    def stores(self) -> Stores:
        """The tables, with what their rows have learnt by, as `table.<name>`; and what finds their
        rows, and which ids wait for one.
        """
        return {
            f"{_TABLE}{name}{part}": store
            for name, table in self.tables.items()
            for part, store in table.stores().items()
        }

    @classmethod
    def from_arrays(
        cls,
        spec: ModelSpec,
        arrays: Arrays,
        *,
        device: torch.device,
        vectors: Mapping[str, Vectors] = NO_VECTORS,
        stores: Mapping[str, RowStore] = NO_STORES,
    ) -> "TwoTower":
        """What `arrays` gave; tables and towers of a side that is not there stay untrained. Tables
        that are in `stores` go on in these, all others are copied.

        Raises Corrupt where names or shapes do not fit the spec.
        """
        model = cls.untrained(spec, seed=0, device=device, vectors=vectors)
        model.scales.load(arrays)
        model.number_scales.load(arrays)
        try:
            dense = {
                name.removeprefix("dense."): torch.from_numpy(array.copy())
                for name, array in arrays.items()
                if name.startswith("dense.")
            }
            unexpected = model.towers.load_state_dict(dense, strict=False).unexpected_keys
            if unexpected:
                raise Corrupt(
                    f"the weights hold {unexpected}, which the declared model does not have"
                )
            for name in spec.learning_tables():
                if found := _table_of(name, spec, arrays, stores, device=device):
                    if found.width != spec.table_width(name):
                        raise Corrupt(f"table {name} has rows of {found.width} numbers")
                    model.tables[name] = found
        except RuntimeError as error:
            raise Corrupt(
                f"the weights do not fit the declared model: {words_of(error)}"
            ) from error
        model.towers.requires_grad_(requires_grad=False)
        return model


def weights_in(arrays: Arrays) -> Arrays:
    """What of a checkpoint's or version's arrays is the model itself."""
    return {name: one for name, one in arrays.items() if name.startswith(_WEIGHTS)}


_TABLE = "table."
_WEIGHTS = ("dense.", _TABLE, "scale.")


def _table_of(
    name: str,
    spec: ModelSpec,
    arrays: Arrays,
    stores: Mapping[str, RowStore],
    *,
    device: torch.device,
) -> Table | None:
    """None where neither has it. Raises Corrupt where its parts do not fit each other."""
    prefix, rule = f"{_TABLE}{name}", spec.table_rule(name)
    own = {
        part.removeprefix(prefix): store
        for part, store in stores.items()
        if part == prefix or part.startswith(f"{prefix}.")
    }
    if not own and f"{prefix}.keys" not in arrays:
        return None
    try:
        if own:
            return Table(own, rule, device=device)
        sums = arrays.get(f"{prefix}.sums", arrays.get(f"optimizer.rows.{name}"))
        return Table.of(
            arrays[f"{prefix}.keys"].astype(np.uint64),
            arrays[f"{prefix}.weights"].astype(np.float32),
            None if sums is None else sums.astype(np.float32),
            rule,
            device=device,
        )
    except (KeyError, ValueError, IndexError) as error:
        raise Corrupt(f"table {name} is not whole: {words_of(error)}") from error


def _scale(side: Side, feature_name: str) -> str:
    return f"{side}.{feature_name}"
