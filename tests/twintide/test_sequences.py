"""The encoder of sequences: against a plain loop over one row, and what it never looks at."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from twintide.features.kind import Sequence
from twintide.model.sequences import Encoder, Layer, laid_out
from twintide.ragged import Ids, in_slots

SLOTS, WIDTH = 5, 6


def learnt(layers: int, heads: int) -> Encoder:
    """An encoder whose every weight says something."""
    torch.manual_seed(3)
    encoder = Encoder(Sequence(SLOTS, layers, heads), WIDTH).double()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return encoder


@torch.no_grad()
def plainly(encoder: Encoder, rows: list[Tensor], ages: list[float]) -> Tensor:
    """One sequence, position after position, with no padding at all."""
    if not rows:
        return encoder.empty
    places = encoder.places[SLOTS - len(rows) :]
    made = [
        row + place + math.log1p(age) / 5 * encoder.ages
        for row, place, age in zip(rows, places, ages, strict=True)
    ]
    for layer in encoder.layers:
        assert isinstance(layer, Layer)
        heads, wide = layer.heads, WIDTH // layer.heads
        parts = [layer.attend(layer.norm(each)).reshape(3, heads, wide) for each in made]
        looked = []
        for at, (query, _, _) in enumerate(parts):
            of_heads = []
            for head in range(heads):
                scores = [
                    float(query[head] @ key[head]) / wide**0.5 for _, key, _ in parts[: at + 1]
                ]
                counts = [math.exp(each) for each in scores]
                shares = [each / sum(counts) for each in counts]
                of_heads.append(
                    sum(
                        share * value[head]
                        for share, (_, _, value) in zip(shares, parts, strict=False)
                    )
                )
            looked.append(torch.cat(of_heads))
        made = [each + layer.attended(seen) for each, seen in zip(made, looked, strict=True)]
        gelu = torch.nn.functional.gelu
        made = [each + layer.narrow(gelu(layer.wide(layer.dense_norm(each)))) for each in made]
    counts = [
        math.exp(float(encoder.keys(encoder.norm(each)) @ encoder.query) / WIDTH**0.5)
        for each in made
    ]
    pooled: Tensor = sum(
        count / sum(counts) * each for count, each in zip(counts, made, strict=True)
    )
    return pooled


def batch(lengths: list[int]) -> tuple[list[list[Tensor]], list[list[float]], Tensor]:
    """Rows and ages of each sequence, and all of them laid out."""
    generator = torch.Generator().manual_seed(7)
    total = sum(lengths)
    rows = torch.randn(total, WIDTH, generator=generator, dtype=torch.float64)
    ages = np.sort(np.random.default_rng(5).exponential(30, total)).astype(np.float32)[::-1].copy()
    ids = Ids(np.zeros(total, np.uint64), np.concatenate(([0], np.cumsum(lengths))), ages=ages)
    offsets = in_slots(ids, SLOTS)
    slots = torch.zeros(len(lengths) * SLOTS, WIDTH, dtype=torch.float64)
    slots[torch.from_numpy(np.diff(offsets) > 0)] = rows
    ends = np.cumsum(lengths)
    parts = [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
    return (
        [list(rows[part]) for part in parts],
        [ages[part].tolist() for part in parts],
        laid_out(slots, offsets, ids, Sequence(SLOTS, 1, 1)),
    )


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 3)])
def test_a_sequence_is_encoded_as_in_a_plain_loop(layers: int, heads: int) -> None:
    """To 1e-6: full, short and empty ones; a position sees itself and those before it, and what is
    in an empty slot counts nowhere.
    """
    encoder, (rows, ages, inputs) = learnt(layers, heads), batch([5, 2, 0, 1, 4])

    found = encoder(inputs).detach()
    wanted = [plainly(encoder, *each) for each in zip(rows, ages, strict=True)]

    torch.testing.assert_close(found, torch.stack(wanted), atol=1e-6, rtol=0)
    garbage = inputs.clone()
    garbage[1, : (SLOTS - 2) * WIDTH] = 1e3
    torch.testing.assert_close(encoder(garbage), found)
    torch.testing.assert_close(encoder.eval()(inputs), found)


def test_a_new_encoder_is_the_mean_of_the_rows() -> None:
    """So that a model begins where a plain history is; an empty sequence is the zero vector."""
    encoder, (rows, _, inputs) = Encoder(Sequence(SLOTS, 2, 2), WIDTH).double(), batch([5, 0, 3])

    found = encoder(inputs)

    zero = torch.zeros(WIDTH, dtype=torch.float64)
    wanted = [torch.stack(each).mean(dim=0) if each else zero for each in rows]
    torch.testing.assert_close(found, torch.stack(wanted), atol=1e-6, rtol=0)


def test_gradients_of_an_encoder_are_those_of_finite_differences() -> None:
    """Of rows, ages and weights; empty slots get none."""
    encoder, (_, _, inputs) = learnt(1, 2), batch([2, 0, 5])
    rows = inputs[:, : SLOTS * WIDTH].clone().requires_grad_()
    beside = inputs[:, SLOTS * WIDTH :]

    assert torch.autograd.gradcheck(lambda each: encoder(torch.cat((each, beside), dim=1)), (rows,))
    encoder(torch.cat((rows, beside), dim=1)).square().sum().backward()
    assert rows.grad is not None
    taken = beside[:, SLOTS:].repeat_interleave(WIDTH, dim=1) > 0
    assert bool((rows.grad[~taken] == 0).all())
    assert bool((rows.grad[taken] != 0).all())
