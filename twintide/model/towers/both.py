"""The dense part of the model: two towers, and how their outputs make a score."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twintide.model.towers.one import tower
from twintide.modelspec import ModelSpec


class Towers(nn.Module):
    """Both towers and what joins them: score = cos(query, candidate) / temperature + popularity
    bias.

    Shapes: B queries, U candidates, D output width.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        shape = spec.shape("candidate")
        self.query = tower(spec.tower_of("query"), spec.shape("query"))
        self.candidate = tower(spec.tower_of("candidate"), shape)
        self.bias = nn.Linear(shape.input_width, 1) if spec.popularity_bias else None
        if self.bias is not None:
            _begin_with_popularity(self.bias, spec)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(spec.temperature)))

    def query_vectors(self, inputs_BX: Tensor) -> Tensor:
        """[B, D], length 1."""
        return F.normalize(self.query(inputs_BX), dim=-1)

    def candidate_vectors(self, inputs_UX: Tensor) -> tuple[Tensor, Tensor]:
        """[U, D] of length 1, and the popularity bias [U]."""
        vectors_UD = F.normalize(self.candidate(inputs_UX), dim=-1)
        if self.bias is None:
            return vectors_UD, vectors_UD.new_zeros(len(vectors_UD))
        return vectors_UD, self.bias(inputs_UX).squeeze(-1)


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
