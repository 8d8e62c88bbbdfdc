"""Deep and cross network, version 2.

Shapes: B rows, X inputs, H width of the last hidden layer.
"""

import numpy as np

from twintide.model.exported.layers import Step, hidden_layers, in_turn, linear
from twintide.model.exported.weights import Floats, Weights
from twintide.towers import Dcn, Shape


def body(declared: Dcn, shape: Shape, weights: Weights) -> Step:
    """[B, X] to [B, O · D]. Without hidden layers the cross layers stand alone."""
    inputs, owed = shape.input_width, shape.owed_width
    if not declared.hidden or declared.structure == "stacked":
        cross = _cross(declared, inputs, weights.under("0."))
        layers, width, last = hidden_layers(declared, inputs, weights, begin=1)
        return in_turn([cross, *layers, linear(weights.under(f"{last}."), width, owed)])
    cross = _cross(declared, inputs, weights.under("0.cross."))
    layers, width, _ = hidden_layers(declared, inputs, weights.under("0.deep."))
    top = linear(weights.under("1."), inputs + width, owed)
    return in_turn([_beside(cross, in_turn(layers)), top])


def _beside(cross: Step, deep: Step) -> Step:
    """[B, X] to [B, X + H]: both on the inputs."""
    return lambda inputs_BX: np.concatenate((cross(inputs_BX), deep(inputs_BX)), axis=1)


def _cross(declared: Dcn, width: int, weights: Weights) -> Step:
    """x(l+1) = x(0) · (W x(l) + b) + x(l), so many times over."""
    layers = [
        _matrix(declared.rank, width, weights.under(f"layers.{number}."))
        for number in range(declared.cross_layers)
    ]

    def run(inputs_BX: Floats) -> Floats:
        crossed = inputs_BX
        for layer in layers:
            crossed = crossed + inputs_BX * layer(crossed)
        return crossed

    return run


def _matrix(rank: int | None, width: int, weights: Weights) -> Step:
    """W x + b; W is U V where it has a rank."""
    if rank is None:
        return linear(weights, width, width)
    narrow = linear(weights.under("0."), width, rank, has_bias=False)
    return in_turn([narrow, linear(weights.under("1."), rank, width)])
