"""The model in TorchRec, as its documentation writes one: tables in an EmbeddingBagCollection
whose row-wise Adagrad is fused into the backward pass, in DistributedModelParallel, one process,
gloo.

What it does not do, in its favour: ids are rows already; jagged tensors, item statistics and log Q
of every batch are made before the clock starts; log Q is known, nothing estimates it; nothing looks
whether a gradient is finite. Its softmax has a column for each click, ours one for each item.
`torch.compile` of towers and loss was slower.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torchrec
from torch import Tensor, distributed, nn
from torch._C._distributed_c10d import HashStore
from torch.nn import functional as F
from torchrec.distributed import DistributedModelParallel
from torchrec.optim import RowWiseAdagrad
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from benchmarks.peers.answering import FIRST, THREADS, WIDTH, Contestant, Task, main
from benchmarks.peers.clicks import Batch, Clicks

FEATURES = ["user", "item", "history"]
CPU = torch.device("cpu")


class TwoTower(nn.Module):
    """Both towers over pooled ids; its value is the loss. B clicks."""

    def __init__(self, clicks: Clicks) -> None:
        super().__init__()
        alike = {
            "embedding_dim": WIDTH,
            "pooling": torchrec.PoolingType.MEAN,
            "init_fn": partial(nn.init.uniform_, a=-FIRST, b=FIRST),
        }
        self.ids = torchrec.EmbeddingBagCollection(
            device=CPU,
            tables=[
                torchrec.EmbeddingBagConfig(
                    name="user",
                    num_embeddings=clicks.users,
                    feature_names=["user"],
                    **alike,
                ),
                torchrec.EmbeddingBagConfig(
                    name="item",
                    num_embeddings=clicks.items,
                    feature_names=["item", "history"],
                    **alike,
                ),
            ],
        )
        statistics = clicks.statistics.shape[1]
        self.query = _tower(2 * WIDTH)
        self.candidate = _tower(WIDTH + statistics)
        self.bias = nn.Linear(WIDTH + statistics, 1)
        self.log_scale = nn.Parameter(torch.tensor(20.0).log())

    def forward(
        self, ids: KeyedJaggedTensor, item_B: Tensor, statistics_BS: Tensor, log_q_B: Tensor
    ) -> Tensor:
        pooled = self.ids(ids)
        query = torch.cat((pooled["user"], pooled["history"]), dim=1)
        candidate = torch.cat((pooled["item"], statistics_BS), dim=1)
        return self.loss(query, candidate, item_B, log_q_B)

    def loss(self, query: Tensor, candidate: Tensor, item_B: Tensor, log_q_B: Tensor) -> Tensor:
        """In-batch softmax of vectors of length 1, accidental hits masked, log Q subtracted."""
        query_BD = F.normalize(self.query(query), dim=-1) * self.log_scale.exp()
        candidate_BD = F.normalize(self.candidate(candidate), dim=-1)
        offset_B = self.bias(candidate).squeeze(1) - log_q_B
        logits_BB = torch.addmm(offset_B, query_BD, candidate_BD.T)
        hits_BB = (item_B[:, None] == item_B[None, :]).fill_diagonal_(fill_value=False)
        logits_BB = logits_BB.masked_fill(hits_BB, -torch.inf)
        return F.cross_entropy(logits_BB, torch.arange(len(item_B)))


def _tower(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, WIDTH)
    )


class TorchRec:
    """One process that holds all tables."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(THREADS)
        torch.manual_seed(1)
        if not distributed.is_initialized():
            distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
        model = TwoTower(task.clicks)
        dense = [each for name, each in model.named_parameters() if not name.startswith("ids.")]
        for each in dense:
            each.requires_grad_(task.is_nightly)
        apply_optimizer_in_backward(RowWiseAdagrad, model.ids.parameters(), {"lr": 0.1})
        self._model = DistributedModelParallel(
            model, device=CPU, init_data_parallel=task.is_nightly
        )
        self._dense = torch.optim.Adam(dense, lr=1e-3) if task.is_nightly else None
        self._batches = [_inputs(each) for each in task.clicks.batches(task.batch_rows)]

    def learn(self) -> Sequence[float]:
        """Losses are looked at after the last step."""
        losses = torch.stack([self._step(inputs) for inputs in self._batches])
        found: list[float] = losses.tolist()
        return found

    def _step(self, inputs: tuple[Any, ...]) -> Tensor:
        loss: Tensor = self._model(*inputs)
        loss.backward()
        if self._dense is not None:
            self._dense.step()
            self._dense.zero_grad()
        return loss.detach()


def _inputs(batch: Batch) -> tuple[Any, ...]:
    count = len(batch.user)
    ones = torch.ones(count, dtype=torch.int64)
    lengths = torch.from_numpy(batch.offsets).diff()
    ids = [torch.from_numpy(each) for each in (batch.user, batch.item, batch.history)]
    jagged = KeyedJaggedTensor(
        keys=FEATURES, values=torch.cat(ids), lengths=torch.cat((ones, ones, lengths))
    )
    jagged.offsets()  # made here, not in the first step
    return (
        jagged,
        torch.from_numpy(batch.item),
        torch.from_numpy(batch.statistics),
        torch.from_numpy(batch.log_q),
    )


def made(task: Task) -> Contestant:
    return TorchRec(task)


if __name__ == "__main__":
    main(made, {"torchrec": torchrec.__version__, "torch": torch.__version__})
