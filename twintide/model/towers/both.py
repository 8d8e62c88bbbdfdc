"""The dense part of the model: two towers, and how their outputs make a score."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twintide.features.kind import SIDES, Side
from twintide.model.sequences import encoded
from twintide.model.towers.one import auxiliary_of, tower
from twintide.model.towers.popularity import PACE, Popularity
from twintide.model.towers.seen import Seen
from twintide.modelspec import ModelSpec


class Towers(nn.Module):
    """Both towers and what joins them: score = similarity(query, candidate) / temperature +
    popularity bias. The similarity is a product: of vectors of length 1 where it is the cosine.
    Each objective has vectors, a temperature and a bias of its own, in the order of their names.

    Shapes: B queries, U candidates, X inputs, D output width, O objectives.
    """

    log_scale: Tensor
    """−log(temperature), [O], or one number where there is one objective: a parameter where it is
    learnt, else a buffer.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        losses = [objective.loss for objective in spec.every_objective().values()]
        shape = spec.shape("candidate")
        self.query = encoded(tower(spec.tower_of("query"), spec.shape("query")), spec, "query")
        self.candidate = tower(spec.tower_of("candidate"), shape)
        self._auxiliary = {
            side: found
            for side in SIDES
            if (found := auxiliary_of(spec.tower_of(side), spec.shape(side))) is not None
        }
        self.bias = nn.Linear(shape.input_width, len(losses)) if spec.popularity_bias else None
        if self.bias is not None:
            _begin_with_popularity(self.bias, spec)
        self.popularity = Popularity(spec) if spec.popularity_layer else None
        self._needs_intercept = [self.bias is None and loss.needs_intercept for loss in losses]
        self.intercept = (
            nn.Parameter(_one_each([0.0] * len(losses))) if any(self._needs_intercept) else None
        )
        log_scale = _one_each([-math.log(loss.temperature(spec.temperature)) for loss in losses])
        if spec.temperature_learnt:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self._is_cosine = spec.similarity == "cosine"
        self._width = spec.output_width

    def query_vectors(self, inputs_BX: Tensor) -> list[Tensor]:
        """O times [B, D]."""
        return self._joined(self.query(inputs_BX))

    def candidate_vectors(self, inputs_UX: Tensor) -> list[tuple[Tensor, Tensor]]:
        """O times [U, D] and the popularity bias [U]."""
        vectors = self._joined(self.candidate(inputs_UX))
        return list(zip(vectors, self._biases(inputs_UX), strict=True))

    def log_scales(self) -> list[Tensor]:
        """−log(temperature) of each objective."""
        return list(self.log_scale.reshape(-1).unbind())

    def _biases(self, inputs_UX: Tensor) -> list[Tensor]:
        if self.bias is not None:
            found = self.bias(inputs_UX)
            if self.popularity is not None:
                found = found + self.popularity(inputs_UX)
            return list(found.unbind(dim=1))
        nothing_U = inputs_UX.new_zeros(len(inputs_UX))
        if self.intercept is None:
            return [nothing_U] * len(self._needs_intercept)
        learnt = self.intercept.reshape(-1).unbind()
        return [  # the same for all items, so it changes no order
            intercept.expand(len(inputs_UX)) if is_needed else nothing_U
            for intercept, is_needed in zip(learnt, self._needs_intercept, strict=True)
        ]

    def paces(self) -> dict[str, float]:
        """Parameters that move further at a step than others do: by how many times."""
        return {name: PACE for name, _ in self.named_parameters() if name.startswith("popularity.")}

    @property
    def has_auxiliary(self) -> bool:
        """Whether a tower has a loss of its own beside the loss."""
        return bool(self._auxiliary)

    def auxiliary(self, seen: Mapping[Side, Seen]) -> Tensor:
        """The sum of the losses that towers have of their own; there must be one."""
        return torch.stack(
            [each(seen[side], learns_dense=self.training) for side, each in self._auxiliary.items()]
        ).sum()

    def _joined(self, vectors: Tensor) -> list[Tensor]:
        each = vectors.split(self._width, dim=1)
        return [F.normalize(one, dim=-1) if self._is_cosine else one for one in each]


def _one_each(values: list[float]) -> Tensor:
    """One number for each objective; a single one as it always stood in checkpoints."""
    return torch.tensor(values if len(values) > 1 else values[0])


def _begin_with_popularity(bias: nn.Linear, spec: ModelSpec) -> None:
    """Before anything is learnt, items stand by their log share of clicks in the longest window;
    but not where a score is a number.
    """
    nn.init.zeros_(bias.weight)
    nn.init.zeros_(bias.bias)
    places = spec.shape("candidate").places
    for head, objective in enumerate(spec.every_objective().values()):
        for feature in spec.candidate:
            popularity = feature.popularity()
            if popularity is not None and objective.loss.target_column() is None:
                place, scale = popularity
                with torch.no_grad():
                    bias.weight[head, places[feature.name].begin + place] = scale
