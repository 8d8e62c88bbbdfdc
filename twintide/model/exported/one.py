"""One exported tower: the body of its kind, and what is done before and after.

Shapes: B rows, X inputs, F features, O vectors of width D, one for each objective.
"""

from importlib import import_module

import numpy as np

from twintide.model.exported.layers import ACTIVATIONS, Step, linear, sigmoid
from twintide.model.exported.weights import Floats, Weights
from twintide.towers import Senet, Shape, Tower


def tower(declared: Tower, shape: Shape, weights: Weights) -> Step:
    """[B, X] to [B, O · D]."""
    module = import_module(f"twintide.model.exported.{declared.kind}")
    if not declared.is_staged():
        plain: Step = module.body(declared, shape, weights)
        return plain
    return _staged(declared, shape, weights, module.body(declared, shape, weights.under("body.")))


def _staged(declared: Tower, shape: Shape, weights: Weights, body: Step) -> Step:
    """A body between its stages. A residual is in each of the vectors."""
    senet = declared.feature_weights
    weigh = _weigh(senet, shape, weights.under("feature_weights.")) if senet else None
    activate = ACTIVATIONS[declared.output_activation]
    residual = shape.places[declared.residual].columns if declared.residual else None
    heads = len(shape.heads)

    def run(inputs_BX: Floats) -> Floats:
        made = activate(body(weigh(inputs_BX) if weigh else inputs_BX))
        return made if residual is None else made + np.tile(inputs_BX[:, residual], heads)

    return run


def _weigh(declared: Senet, shape: Shape, weights: Weights) -> Step:
    """SENet: each feature's mean, two layers over these, and each feature times its weight."""
    widths = np.array([place.width for place in shape.places.values()])
    features = len(widths)
    squeezed = -(-features // declared.reduction_ratio)
    squeeze = linear(weights.under("squeeze."), features, squeezed)
    excite = linear(weights.under("excite."), squeezed, features)
    feature_X = np.repeat(np.arange(features), widths)
    means_XF = (np.eye(features)[feature_X] / widths).astype(np.float32)

    def run(inputs_BX: Floats) -> Floats:
        weights_BF = 2 * sigmoid(excite(np.maximum(squeeze(inputs_BX @ means_XF), 0)))
        found: Floats = inputs_BX * weights_BF[:, feature_X]
        return found

    return run
