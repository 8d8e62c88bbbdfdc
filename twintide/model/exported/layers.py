"""What exported towers are built of.

Shapes: B rows, W width of a layer.
"""

from collections.abc import Callable, Sequence

import numpy as np

from twintide.model.exported.weights import Floats, Weights
from twintide.towers import Layered

EPSILON = np.float32(1e-5)
"""As in batch norm and layer norm of `twintide.model`."""

Step = Callable[[Floats], Floats]


def in_turn(steps: Sequence[Step]) -> Step:
    """Each on what the one before gave."""

    def run(inputs: Floats) -> Floats:
        for step in steps:
            inputs = step(inputs)
        return inputs

    return run


def hidden_layers(
    declared: Layered, width: int, weights: Weights, *, begin: int = 0
) -> tuple[list[Step], int, int]:
    """The hidden layers, the width of the last, and the number of what comes after them: weights
    are named by the numbers of torch's modules, and those of these layers begin at `begin`.
    """
    steps: list[Step] = []
    number = begin
    for hidden in declared.hidden:
        steps.append(linear(weights.under(f"{number}."), width, hidden))
        number += 1
        if declared.batch_norm:
            steps.append(batch_norm(weights.under(f"{number}."), hidden))
            number += 1
        steps.append(ACTIVATIONS[declared.activation])
        number += 2 if declared.dropout else 1
        width = hidden
    return steps, width, number


def linear(weights: Weights, given: int, owed: int, *, has_bias: bool = True) -> Step:
    """W x + b."""
    matrix = np.ascontiguousarray(weights.take("weight", owed, given).T)
    if not has_bias:
        return lambda inputs_BW: inputs_BW @ matrix
    bias = weights.take("bias", owed).copy()

    def run(inputs_BW: Floats) -> Floats:
        found: Floats = inputs_BW @ matrix
        found += bias
        return found

    return run


def batch_norm(weights: Weights, width: int) -> Step:
    """By the running statistics."""
    mean, variance = (weights.take(name, width) for name in ("mean", "variance"))
    scale = weights.take("weight", width) / np.sqrt(variance + EPSILON)
    shift = weights.take("bias", width) - mean * scale
    return lambda inputs_BW: inputs_BW * scale + shift


def layer_norm(weights: Weights, width: int) -> Step:
    """Each row to mean 0 and variance 1, then times weights and plus a bias."""
    scale, shift = (weights.take(name, width).copy() for name in ("weight", "bias"))

    def run(rows: Floats) -> Floats:
        centred = rows - rows.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        normed = np.asarray(centred / np.sqrt(variance + EPSILON), np.float32)
        return normed * scale + shift

    return run


def sigmoid(inputs: Floats) -> Floats:
    """1 / (1 + exp(-x))"""
    with np.errstate(over="ignore"):  # 1 / infinity is 0, which is right
        return np.asarray(1 / (1 + np.exp(-inputs)), np.float32)


def gelu(inputs: Floats) -> Floats:
    """X · Φ(x), Φ the normal distribution."""
    found: Floats = inputs * (np.float32(0.5) + np.float32(0.5) * erf(inputs * _HALF_ROOT))
    return found


_HALF_ROOT = np.float32(0.5**0.5)
_ODD = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
_EVEN = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
    -1.42647390514189e-02,
)  # fmt: skip


def erf(inputs: Floats) -> Floats:
    """The error function to the precision of float32, which numpy lacks: a quotient of polynomials
    (that of Eigen and XLA).
    """
    limited = np.clip(inputs, np.float32(-4), np.float32(4))
    squared = limited * limited
    found: Floats = limited * _polynomial(_ODD, squared) / _polynomial(_EVEN, squared)
    return found


def _polynomial(coefficients: Sequence[float], inputs: Floats) -> Floats:
    """By Horner's rule, that of the highest power first."""
    found = np.full_like(inputs, coefficients[0])
    for coefficient in coefficients[1:]:
        found *= inputs
        found += np.float32(coefficient)
    return found


ACTIVATIONS: dict[str, Step] = {
    "linear": lambda inputs: inputs,
    "relu": lambda inputs: np.maximum(inputs, 0),
    "leaky_relu": lambda inputs: np.where(inputs > 0, inputs, np.float32(0.01) * inputs),
    "gelu": gelu,
    "silu": lambda inputs: inputs * sigmoid(inputs),
    "tanh": np.tanh,
}
"""By the name that a declaration gives them."""
