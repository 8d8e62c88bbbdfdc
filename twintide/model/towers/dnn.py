"""The tower that is a stack of layers."""

from torch import nn

from twintide.towers import Dnn, Shape


def body(declared: Dnn, shape: Shape) -> nn.Module:
    """[B, X] to [B, D]."""
    layers: list[nn.Module] = []
    width = shape.input_width
    for hidden in declared.hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, shape.output_width))
