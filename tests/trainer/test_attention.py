"""A history that attention pools: its rows learn as autograd says, beside others of their table."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.trainer.conftest import deployment_in
from trainer.row_optimizer import incidence_of
from twintide.model.sequences import laid_out, readers_of
from twintide.model.two_tower import PooledRows, TwoTower
from twintide.ragged import Encoded, Ids, in_slots, one_id_each

QUERY: list[dict[str, Any]] = [
    {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"},
    {"kind": "attention_history", "name": "read", "table": "item", "length": 4, "heads": 2},
    {"kind": "history", "name": "history", "table": "item", "length": 3},
]


def test_rows_behind_attention_get_the_gradients_of_autograd(tmp_path: Any) -> None:
    """To 1e-6, of all features that read a table together; ids that nobody knows are row 0."""
    spec = deployment_in(tmp_path, {"model": {"query": QUERY}}).model
    model = TwoTower.untrained(spec, seed=1, device=torch.device("cpu"))
    for parameter in model.towers.query.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    users, items = np.arange(1, 6, dtype=np.uint64), np.arange(1, 10, dtype=np.uint64)
    model.tables["user"].grow(users)
    model.tables["item"].grow(items)
    read = Ids(
        np.array([1, 2, 1, 77, 3, 4, 9, 1], np.uint64),
        np.array([0, 2, 2, 6, 7, 8]),
        ages=np.arange(8, 0, -1, dtype=np.float32),
    )
    encoded: Encoded = {"user": one_id_each(users), "read": read, "history": read}
    rows = model.rows_of(encoded, "query")
    inputs = model.pooled(encoded, rows, "query").requires_grad_()
    towards = torch.randn(5, spec.output_width, generator=torch.Generator().manual_seed(2))

    model.towers.query(inputs).mul(towards).sum().backward()

    assert inputs.grad is not None
    readers = [each for each in readers_of(spec, "item") if each.side == "query"]
    incidence = incidence_of([rows[each.name] for each in readers])
    grads = torch.cat([each.rows_in(inputs.grad) for each in readers])
    found = torch.zeros_like(model.tables["item"].weights)
    for at, row in enumerate(incidence.rows):
        ends = [*incidence.starts[1:], len(incidence.bags)]
        part = slice(incidence.starts[at], ends[at])
        weights = torch.from_numpy(incidence.weights[part])[:, None]
        found[row] = (grads[torch.from_numpy(incidence.bags[part])] * weights).sum(dim=0)
    torch.testing.assert_close(found, by_autograd(model, encoded, rows, towards), atol=1e-6, rtol=0)


def by_autograd(
    model: TwoTower, encoded: Encoded, rows: dict[str, PooledRows], towards: Tensor
) -> Tensor:
    """The gradient of the item table, where torch itself looks every row up."""
    table = model.tables["item"].weights.clone().requires_grad_()
    read = encoded["read"]
    assert isinstance(read, Ids)
    found = table[torch.from_numpy(rows["read"].rows)]
    offsets = in_slots(read, 4)
    slots = torch.zeros(20, table.shape[1])
    slots = slots.index_put((torch.from_numpy(np.flatnonzero(np.diff(offsets))),), found)
    sequence = model.spec.sequences("query")["read"]
    bags = torch.from_numpy(read.offsets[:-1])
    parts = [
        model.tables["user"].weights[torch.from_numpy(rows["user"].rows)],
        laid_out(slots, offsets, read, sequence),
        F.embedding_bag(torch.from_numpy(rows["history"].rows), table, bags, mode="mean"),
    ]
    model.towers.query(torch.cat(parts, dim=1)).mul(towards).sum().backward()
    assert table.grad is not None
    return table.grad
