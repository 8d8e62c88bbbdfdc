"""The dual augmented tower: layers, once it has learnt."""

from twintide.model.exported import dnn
from twintide.model.exported.layers import Step
from twintide.model.exported.weights import Weights
from twintide.towers import Dat, Shape


def body(declared: Dat, shape: Shape, weights: Weights) -> Step:
    """[B, X] to [B, O · D]."""
    return dnn.body(declared, shape, weights)
