"""The tower that is a stack of layers."""

from torch import nn

from twintide.model.towers.axes import Axes, inputs, outputs, stack
from twintide.model.towers.layers import hidden_layers
from twintide.towers import Layered, Shape


def body(declared: Layered, shape: Shape) -> nn.Module:
    """[B, X] to [B, O · D]."""
    layers, width = hidden_layers(declared, shape.input_width)
    return nn.Sequential(*layers, nn.Linear(width, shape.owed_width))


def axes(declared: Layered, shape: Shape) -> Axes:
    """Of a weight, by dimension."""
    layers, _ = hidden_layers(declared, shape.input_width)
    return stack(inputs(shape), outputs(shape), len(layers))
