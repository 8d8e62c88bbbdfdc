"""Sequences: features whose rows an encoder makes one vector of, in front of their tower.

The leaf of autograd stays one matrix [B, X]. In it a sequence of S slots and rows of W numbers is
S · W numbers of rows, S ages and S that say which slots are taken; the newest row is in the last
slot. So the rows of a sequence get their gradients as all others do: a slot is a bag of one row.

Shapes: B rows of a batch, S slots, W width of the table, H heads.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from twintide.features.kind import SIDES, Sequence, Side
from twintide.modelspec import ModelSpec
from twintide.ragged import Ids
from twintide.towers import Place

_AGE_SCALE = 5.0
"""log(1 + hours) of a week is 5.1."""


def laid_out(slots: Tensor, offsets: npt.NDArray[np.int64], ids: Ids, sequence: Sequence) -> Tensor:
    """[B, S · (W + 2)], of the rows of the slots [B · S, W]."""
    if ids.ages is None:
        raise TypeError("a sequence without ages")
    is_taken = np.diff(offsets) > 0
    ages = np.zeros(len(is_taken), np.float32)
    ages[is_taken] = ids.ages
    beside = np.concatenate(
        (ages.reshape(-1, sequence.length), is_taken.reshape(-1, sequence.length)), axis=1
    )
    rows = slots.reshape(len(beside), -1)
    return torch.cat((rows, torch.from_numpy(beside.astype(np.float32)).to(rows)), dim=1)


@dataclass(frozen=True)
class Reader:
    """A feature that reads a table, and where its rows stand among the inputs of its tower."""

    side: Side
    name: str
    place: Place
    sequence: Sequence | None

    def rows_in(self, inputs_BX: Tensor) -> Tensor:
        """[bags, W]: what of the inputs, or of their gradient, is of the feature's rows."""
        inputs = inputs_BX[:, self.place.columns]
        if self.sequence is None:
            return inputs
        slots = self.sequence.length
        width = inputs.shape[1] // slots - 2
        return inputs[:, : slots * width].reshape(-1, width)


def readers_of(spec: ModelSpec, table: str) -> list[Reader]:
    """Every feature that reads a table, those of queries first."""
    return [
        Reader(side, feature.name, spec.inputs(side)[feature.name], feature.sequence())
        for side in SIDES
        for feature in spec.lookups(side)
        if feature.table == table
    ]


def encoded(tower: nn.Module, spec: ModelSpec, side: Side) -> nn.Module:
    """The tower behind the encoders of its side, where it has any."""
    return Encoded(tower, spec, side) if spec.sequences(side) else tower


class Encoded(nn.Module):
    """A tower, and what makes vectors of sequences before it."""

    def __init__(self, tower: nn.Module, spec: ModelSpec, side: Side) -> None:
        super().__init__()
        self.tower = tower
        shape = spec.shape(side)
        self.encoders = nn.ModuleDict(
            {
                name: Encoder(sequence, shape.places[name].width)
                for name, sequence in spec.sequences(side).items()
            }
        )
        self._places: dict[str, Place] = spec.inputs(side)

    def forward(self, inputs_BX: Tensor) -> Tensor:
        """[B, D]"""
        parts = [
            self.encoders[name](inputs_BX[:, place.columns])
            if name in self.encoders
            else inputs_BX[:, place.columns]
            for name, place in self._places.items()
        ]
        vectors_BD: Tensor = self.tower(torch.cat(parts, dim=1))
        return vectors_BD


class Encoder(nn.Module):
    """Layers of causal self-attention over the rows, then a learnt query that weighs the positions
    (as SASRec, Kang and McAuley, ICDM 2018, with ages, and pooled).

    What a layer adds begins at zero and the query weighs evenly, so the first vector is the mean of
    the rows; an empty sequence is a learnt vector that begins at zero.
    """

    def __init__(self, sequence: Sequence, width: int) -> None:
        super().__init__()
        self.length, self.width = sequence.length, width
        self.places = nn.Parameter(torch.zeros(sequence.length, width))
        self.ages = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(Layer(width, sequence.heads) for _ in range(sequence.layers))
        self.norm = nn.LayerNorm(width)
        self.keys = nn.Linear(width, width)
        self.query = nn.Parameter(torch.zeros(width))
        self.empty = nn.Parameter(torch.zeros(width))

    def forward(self, laid_out_BX: Tensor) -> Tensor:
        """[B, W]"""
        sizes = (self.length * self.width, self.length, self.length)
        flat, ages_BS, taken_BS = laid_out_BX.split(sizes, dim=1)
        rows_BSW = flat.reshape(-1, self.length, self.width)
        is_taken_BS = taken_BS > 0
        when_BSW = self.places + (torch.log1p(ages_BS) / _AGE_SCALE)[:, :, None] * self.ages
        made_BSW = rows_BSW + when_BSW
        for layer in self.layers:
            made_BSW = layer(made_BSW, is_taken_BS)
        scores_BS = self.keys(self.norm(made_BSW)) @ self.query / self.width**0.5
        shares_BS = _shares(scores_BS, is_taken_BS)
        pooled_BW = (shares_BS[:, None, :] @ made_BSW).squeeze(1)
        return torch.where(is_taken_BS.any(dim=1, keepdim=True), pooled_BW, self.empty)


class Layer(nn.Module):
    """Self-attention of each row to itself and those before it, then two dense layers; each adds to
    what it was given.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.attend = nn.Linear(width, 3 * width)
        self.attended = _silent(nn.Linear(width, width))
        self.dense_norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = _silent(nn.Linear(2 * width, width))

    def forward(self, rows_BSW: Tensor, is_taken_BS: Tensor) -> Tensor:
        """[B, S, W]"""
        made_BSW = rows_BSW + self.attended(self._attention(self.norm(rows_BSW), is_taken_BS))
        wide = nn.functional.gelu(self.wide(self.dense_norm(made_BSW)))
        added_BSW: Tensor = made_BSW + self.narrow(wide)
        return added_BSW

    def _attention(self, rows_BSW: Tensor, is_taken_BS: Tensor) -> Tensor:
        count, slots, width = rows_BSW.shape
        parts = self.attend(rows_BSW).reshape(count, slots, 3, self.heads, width // self.heads)
        query_BHSV, key_BHSV, value_BHSV = parts.permute(2, 0, 3, 1, 4)
        scores_BHSS = query_BHSV @ key_BHSV.transpose(2, 3) / (width // self.heads) ** 0.5
        before_SS = torch.ones(slots, slots, dtype=torch.bool, device=rows_BSW.device).tril()
        shares_BHSS = _shares(scores_BHSS, before_SS & is_taken_BS[:, None, None, :])
        seen_BSW: Tensor = (shares_BHSS @ value_BHSV).transpose(1, 2)
        return seen_BSW.reshape(count, slots, width)


def _shares(scores: Tensor, allowed: Tensor) -> Tensor:
    """A softmax over the last dimension, of what is allowed; nothing where nothing is."""
    masked = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    shares: Tensor = torch.softmax(masked, dim=-1) * allowed
    return shares


def _silent(layer: nn.Linear) -> nn.Linear:
    """A layer that adds nothing until it has learnt."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
