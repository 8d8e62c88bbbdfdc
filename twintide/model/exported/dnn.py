"""The tower that is a stack of layers."""

from twintide.model.exported.layers import Step, hidden_layers, in_turn, linear
from twintide.model.exported.weights import Weights
from twintide.towers import Layered, Shape


def body(declared: Layered, shape: Shape, weights: Weights) -> Step:
    """[B, X] to [B, O · D]."""
    layers, width, last = hidden_layers(declared, shape.input_width, weights)
    return in_turn([*layers, linear(weights.under(f"{last}."), width, shape.owed_width)])
