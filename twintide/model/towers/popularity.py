"""What statistics of an item add to its popularity bias, through a layer of their own.

The log of how probable a click is bends: it falls with age ever more slowly, and one click among
few says less than its share. It adds nothing before it has learnt.

Shapes: U candidates, X inputs, O objectives.
"""

import torch
from torch import Tensor, nn

from twintide.model.towers.axes import Axes, Axis, Unit
from twintide.modelspec import ModelSpec

PACE = 10.0
"""How many times as far as a tower's its weights move at a step: they are few, they read what is
never wide, and an hour has tens of steps.
"""


class Popularity(nn.Module):
    """[U, X] to [U, O]."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self._columns = _columns(spec)
        width = self._columns.stop - self._columns.start
        self.layer = nn.Linear(width, spec.popularity_layer)
        self.output = nn.Linear(spec.popularity_layer, len(spec.every_objective()))
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, inputs_UX: Tensor) -> Tensor:
        """[U, O]"""
        found: Tensor = self.output(torch.relu(self.layer(inputs_UX[:, self._columns])))
        return found


def axes(spec: ModelSpec, heads: Axis) -> Axes:
    """What the axes of its weights stand for, by name."""
    if not spec.popularity_layer:
        return {}
    statistics = spec.item_statistics()
    name, width = (statistics.name, statistics.count) if statistics else ("", 0)
    given = Axis(tuple(Unit("feature", name, number) for number in range(width)), is_input=True)
    return {
        "layer.weight": {1: given},
        "output.weight": {0: heads},
        "output.bias": {0: heads},
    }


def _columns(spec: ModelSpec) -> slice:
    statistics = spec.item_statistics()
    if statistics is None:
        raise ValueError("a layer for statistics of items, and none are declared")
    return spec.shape("candidate").places[statistics.name].columns
