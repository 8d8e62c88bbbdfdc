"""The dense part of the model: two towers, and how their outputs make a score."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twintide.features.kind import SIDES, Side
from twintide.model.sequences import encoded
from twintide.model.towers.one import auxiliary_of, tower
from twintide.model.towers.seen import Seen
from twintide.modelspec import ModelSpec


class Towers(nn.Module):
    """Both towers and what joins them: score = similarity(query, candidate) / temperature +
    popularity bias. The similarity is a product: of vectors of length 1 where it is the cosine.

    Shapes: B queries, U candidates, X inputs, D output width.
    """

    log_scale: Tensor
    """−log(temperature): a parameter where it is learnt, else a buffer."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        shape = spec.shape("candidate")
        self.query = encoded(tower(spec.tower_of("query"), spec.shape("query")), spec, "query")
        self.candidate = tower(spec.tower_of("candidate"), shape)
        self._auxiliary = {
            side: found
            for side in SIDES
            if (found := auxiliary_of(spec.tower_of(side), spec.shape(side))) is not None
        }
        self.bias = nn.Linear(shape.input_width, 1) if spec.popularity_bias else None
        if self.bias is not None:
            _begin_with_popularity(self.bias, spec)
        needs_intercept = self.bias is None and spec.loss.needs_intercept
        self.intercept = nn.Parameter(torch.zeros(())) if needs_intercept else None
        log_scale = torch.tensor(-math.log(spec.temperature))
        if spec.temperature_learnt:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self._is_cosine = spec.similarity == "cosine"

    def query_vectors(self, inputs_BX: Tensor) -> Tensor:
        """[B, D]"""
        return self._joined(self.query(inputs_BX))

    def candidate_vectors(self, inputs_UX: Tensor) -> tuple[Tensor, Tensor]:
        """[U, D], and the popularity bias [U]."""
        vectors_UD = self._joined(self.candidate(inputs_UX))
        if self.bias is not None:
            return vectors_UD, self.bias(inputs_UX).squeeze(-1)
        if self.intercept is not None:  # the same for all items, so it changes no order
            return vectors_UD, self.intercept.expand(len(vectors_UD))
        return vectors_UD, vectors_UD.new_zeros(len(vectors_UD))

    @property
    def has_auxiliary(self) -> bool:
        """Whether a tower has a loss of its own beside the loss."""
        return bool(self._auxiliary)

    def auxiliary(self, seen: Mapping[Side, Seen]) -> Tensor:
        """The sum of the losses that towers have of their own; there must be one."""
        return torch.stack(
            [each(seen[side], learns_dense=self.training) for side, each in self._auxiliary.items()]
        ).sum()

    def _joined(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1) if self._is_cosine else vectors


def _begin_with_popularity(bias: nn.Linear, spec: ModelSpec) -> None:
    """Before anything is learnt, items stand by their log share of clicks in the longest window."""
    nn.init.zeros_(bias.weight)
    nn.init.zeros_(bias.bias)
    places = spec.shape("candidate").places
    for feature in spec.candidate:
        popularity = feature.popularity()
        if popularity is not None:
            place, scale = popularity
            with torch.no_grad():
                bias.weight[0, places[feature.name].begin + place] = scale
