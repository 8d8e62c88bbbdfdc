"""Shared bottom (Caruana, 1997): one stack of layers for all, and on it one for each scenario.

Shapes: B rows, X inputs, W width of the shared layers, O objectives, D width of a vector.
"""

import torch
from torch import Tensor, nn

from twintide.model.towers.axes import Axes, Axis, inputs, outputs, stack
from twintide.model.towers.layers import hidden_layers
from twintide.towers import Head, Shape, SharedBottom, by_scenario


class Tasks(nn.Module):
    """A tower for each scenario, side by side; its columns in the order of the objectives."""

    _order: Tensor

    def __init__(self, declared: SharedBottom, width: int, shape: Shape) -> None:
        super().__init__()
        heads = by_scenario(shape)
        self.towers = nn.ModuleDict()
        for name, own in heads.items():
            layers, last = hidden_layers(declared.layers(declared.task), width)
            self.towers[name] = nn.Sequential(
                *layers, nn.Linear(last, len(own) * shape.output_width)
            )
        given = torch.tensor([number for own in heads.values() for number in own])
        columns_OD = torch.arange(shape.owed_width).reshape(len(given), -1)
        self.register_buffer("_order", columns_OD[given.argsort()].flatten(), persistent=False)

    def forward(self, shared_BW: Tensor) -> Tensor:
        """[B, O · D]"""
        made = torch.cat([tower(shared_BW) for tower in self.towers.values()], dim=1)
        return made[:, self._order] if len(self.towers) > 1 else made


def body(declared: SharedBottom, shape: Shape) -> nn.Module:
    """[B, X] to [B, O · D]."""
    layers, width = hidden_layers(declared.layers(declared.bottom), shape.input_width)
    return nn.Sequential(*layers, Tasks(declared, width, shape))


def axes(declared: SharedBottom, shape: Shape) -> Axes:
    """Of a weight, by dimension."""
    shared, width = hidden_layers(declared.layers(declared.bottom), shape.input_width)
    task, _ = hidden_layers(declared.layers(declared.task), width)
    given = inputs(shape)
    found: dict[str, dict[int, Axis]] = {"0.weight": {1: given}} if shared else {}
    read = Axis((), is_input=True).and_then(width) if shared else given
    for name, numbers in by_scenario(shape).items():
        heads: tuple[Head, ...] = tuple(shape.heads[number] for number in numbers)
        own = stack(read, outputs(shape, heads), len(task))
        found |= {f"{len(shared)}.towers.{name}.{key}": axis for key, axis in own.items()}
    return found
