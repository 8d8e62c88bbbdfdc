"""Both optimizers do what torch's do, and what a plain loop in float64 does."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from trainer.dense import PREFIX, DenseOptimizer, begun_at
from trainer.row_optimizer import EPSILON, Incidence, clipped, gradients_of, incidence_of
from trainer.row_optimizer import step as applied
from twintide.arrays import Arrays
from twintide.keys import mixed
from twintide.model.table import Table
from twintide.model.two_tower import PooledRows
from twintide.rowstore import RowStore

STEPS, WIDTH, IDS = 25, 6, 40
Doubles = npt.NDArray[np.float64]


def towers(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2))


def test_adam_is_a_plain_loop() -> None:
    """The same weights in float64, where the rate changes and where it is resumed."""
    model = towers(1)
    optimizer = DenseOptimizer(model, {})
    plain = {name: each.detach().double().numpy().copy() for name, each in named(model)}
    mean, square = ({name: np.zeros_like(each) for name, each in plain.items()} for _ in range(2))
    for step in range(1, STEPS + 1):
        model(torch.randn(11, 5)).square().mean().backward()
        rate = 0.01 / (1 + step % 3)
        for name, parameter in named(model):
            grad = gradient_of(parameter).double().numpy()
            mean[name] = 0.9 * mean[name] + 0.1 * grad
            square[name] = 0.999 * square[name] + 0.001 * grad**2
            size = np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8
            plain[name] -= rate * mean[name] / (1 - 0.9**step) / size
        optimizer.step(learning_rate=rate)
        if step == STEPS // 2:
            optimizer = DenseOptimizer(model, optimizer.arrays())  # as a checkpoint has it

        for name, parameter in named(model):
            np.testing.assert_allclose(parameter.detach().numpy(), plain[name], atol=2e-6)


def test_what_has_a_pace_moves_so_many_times_as_far() -> None:
    """Beside what has none, in the same step, and after a checkpoint as before it."""
    slow, mixed = towers(1), towers(1)
    start = [each.detach().clone() for _, each in named(slow)]
    for model, paces in ((slow, {}), (mixed, {"0.bias": 3.0})):
        begun = DenseOptimizer(model, {}, paces=paces)
        for optimizer in (begun, DenseOptimizer(model, begun.arrays(), paces=paces)):
            for _, parameter in named(model):
                parameter.grad = torch.ones_like(parameter)
            optimizer.step(learning_rate=0.1)

    for (name, one), (_, other), was in zip(named(slow), named(mixed), start, strict=True):
        times = 3.0 if name == "0.bias" else 1.0
        assert torch.allclose(other - was, times * (one - was)), name


def test_adam_leaves_alone_what_has_no_gradient() -> None:
    """A frozen layer keeps its weights and moments."""
    model = towers(1)
    optimizer = DenseOptimizer(model, {})
    before, (_, learning) = named(model)[0][1].clone(), named(model)[2]
    learning.grad = torch.ones_like(learning)

    optimizer.step(learning_rate=0.1)

    assert torch.equal(named(model)[0][1], before)
    assert not optimizer.arrays()["optimizer.adam.mean.0.weight"].any()
    assert optimizer.arrays()["optimizer.adam.mean.2.weight"].all()


def test_each_parameter_moves_as_if_it_were_alone() -> None:
    """Some have no gradient at a step, some began later, and a step that was refused is none."""
    rng = np.random.default_rng(1)
    together, apart = towers(1), towers(1)
    begun = {f"{PREFIX}steps": np.array([9]), begun_at("2.weight"): np.array([7])}
    optimizer = DenseOptimizer(together, begun)
    own = {
        name: DenseOptimizer(nn.ParameterDict({"weight": each}), renamed(begun, name))
        for name, each in named(apart)
    }
    for _ in range(STEPS):
        for have_gradient in rng.random((2, 4)) < 0.5:
            pairs = zip(named(together), named(apart), have_gradient, strict=True)
            for (_, ours), (_, alone), has_gradient in pairs:
                ours.grad = torch.randn_like(ours) if has_gradient else None
                alone.grad = None if ours.grad is None else ours.grad.clone()
            optimizer.squares()  # the first of the two is refused
        optimizer.step(learning_rate=0.1)
        for each in own.values():
            each.step(learning_rate=0.1)

        for (name, ours), (_, alone) in zip(named(together), named(apart), strict=True):
            torch.testing.assert_close(ours, alone, msg=name)


@pytest.mark.faults
def test_adam_is_torchs_adam() -> None:
    """Left to the long runs, since loading torch's takes two seconds."""
    ours, theirs = towers(1), towers(1)
    own, adam = DenseOptimizer(ours, {}), torch.optim.Adam(theirs.parameters(), lr=1.0)
    for step in range(10 * STEPS):
        inputs, rate = torch.randn(11, 5), 0.01 / (1 + step % 3)
        for model in (ours, theirs):
            model(inputs).square().mean().backward()
        own.step(learning_rate=rate)
        adam.param_groups[0]["lr"] = rate
        adam.step()
        adam.zero_grad()

        for mine, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-6)


def named(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(model.named_parameters())


def renamed(arrays: Arrays, name: str) -> Arrays:
    """What these say of one parameter, by the name `weight`."""
    found = {f"{PREFIX}steps": arrays[f"{PREFIX}steps"]}
    if begun_at(name) in arrays:
        found[begun_at("weight")] = arrays[begun_at(name)]
    return found


def gradient_of(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def bags(rng: np.random.Generator, pooling: str) -> PooledRows:
    """Bags of 0 to 4 rows of a table, the default row and repeats among them."""
    lengths = rng.integers(0, 5, 9)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    rows = rng.integers(0, IDS + 1, offsets[-1])
    if pooling != "weighted":
        return PooledRows(rows, offsets, pooling)
    return PooledRows(rows, offsets, "sum", rng.random(len(rows), np.float32))


def row_step(
    table: Table, incidence: Incidence, grad_bags: Tensor, *, learning_rate: float
) -> None:
    applied(table, gradients_of(incidence, grad_bags), learning_rate=learning_rate)


def plain_step(
    weights: Doubles, sums: Doubles, features: list[PooledRows], grad_bags: Doubles, rate: float
) -> None:
    """Row-wise Adagrad in float64: one gradient a row, one accumulator a row."""
    gradient: dict[int, Doubles] = {}
    bag = 0
    for feature in features:
        for begin, end in zip(feature.offsets[:-1], feature.offsets[1:], strict=True):
            share = 1 / (end - begin) if feature.pooling == "mean" and end > begin else 1.0
            for entry in range(begin, end):
                row = int(feature.rows[entry])
                counts = share if feature.weights is None else float(feature.weights[entry])
                gradient[row] = gradient.get(row, np.zeros(WIDTH)) + counts * grad_bags[bag]
            bag += 1
    for row, grad in gradient.items():
        sums[row] += np.mean(np.square(grad))
        weights[row] -= rate * grad / (np.sqrt(sums[row]) + EPSILON)


@pytest.mark.parametrize(
    "poolings", [("sum",), ("mean",), ("weighted",), ("mean", "weighted", "sum", "mean")]
)
def test_rows_learn_as_in_a_plain_loop(poolings: tuple[str, ...]) -> None:
    """Several features of one table, empty bags, a row that is in one bag twice; resumed once."""
    rng = np.random.default_rng(4)
    table = Table.empty(WIDTH, device=torch.device("cpu"))
    table.grow(mixed(np.arange(1, IDS + 1, dtype=np.uint64)))
    weights, sums = table.weights.double().numpy().copy(), np.zeros(IDS + 1)
    for step in range(STEPS):
        features = [bags(rng, pooling) for pooling in poolings]
        grads = rng.normal(size=(9 * len(poolings), WIDTH)).astype(np.float32)
        row_step(table, incidence_of(features), torch.from_numpy(grads), learning_rate=0.1)
        plain_step(weights, sums, features, grads.astype(np.float64), 0.1)
        if step == STEPS // 2:
            stores = table.stores()[""].columns()
            saved = RowStore.of({name: values.copy() for name, values in stores.items()})
            table = Table({"": saved}, device=torch.device("cpu"))

    np.testing.assert_allclose(table.weights.numpy(), weights, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(table.stores()[""]["sums"], sums, rtol=1e-5)


def test_a_clipped_gradient_keeps_its_direction_and_no_more_than_the_limit() -> None:
    """Told by a loop over the rows; those below the limit, and rows without a gradient, are as they
    were.
    """
    rng = np.random.default_rng(6)
    features = [bags(rng, "mean")]
    grads = rng.normal(size=(9, WIDTH)).astype(np.float32)
    grads[:2] = 0
    whole = gradients_of(incidence_of(features), torch.from_numpy(grads))
    found = clipped(whole, at=0.4)

    sizes = whole.grad_RD.square().mean(dim=1).sqrt()
    assert (sizes > 0.4).any()
    assert (sizes < 0.4).any()
    for row, size in enumerate(sizes.tolist()):
        share = min(1.0, 0.4 / max(size, EPSILON))
        torch.testing.assert_close(found.grad_RD[row], whole.grad_RD[row] * share)
    torch.testing.assert_close(found.squares_R, found.grad_RD.square().mean(dim=1))


@pytest.mark.faults
def test_rows_of_width_one_learn_as_torchs_adagrad() -> None:
    """A row of one number has one accumulator, which is what torch gives every number."""
    table = Table.empty(1, device=torch.device("cpu"))
    table.grow(mixed(np.arange(1, IDS + 1, dtype=np.uint64)))
    embedding = nn.Embedding.from_pretrained(table.weights.clone(), freeze=False)
    theirs = torch.optim.Adagrad(embedding.parameters(), lr=0.1, eps=EPSILON)
    rng = np.random.default_rng(5)
    for _ in range(STEPS):
        rows, targets = rng.integers(0, IDS + 1, 13), torch.from_numpy(rng.normal(size=(13, 1)))
        looked_up = PooledRows(rows, np.arange(14), "sum")
        loss = (embedding(torch.from_numpy(rows)) * targets.float()).sum()
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        row_step(table, incidence_of([looked_up]), targets.float(), learning_rate=0.1)

    torch.testing.assert_close(table.weights, embedding.weight.detach(), rtol=1e-5, atol=1e-6)
