"""Shared bottom: one stack of layers for all, and on it one for each scenario.

Shapes: B rows, W width of the shared layers, O objectives, D width of a vector.
"""

import numpy as np

from twintide.model.exported.layers import Step, hidden_layers, in_turn, linear
from twintide.model.exported.weights import Floats, Weights
from twintide.towers import Shape, SharedBottom, by_scenario


def body(declared: SharedBottom, shape: Shape, weights: Weights) -> Step:
    """[B, X] to [B, O · D]."""
    bottom = declared.layers(declared.bottom)
    layers, width, last = hidden_layers(bottom, shape.input_width, weights)
    return in_turn([*layers, _tasks(declared, width, shape, weights.under(f"{last}.towers."))])


def _tasks(declared: SharedBottom, width: int, shape: Shape, weights: Weights) -> Step:
    """[B, W] to [B, O · D]: a tower for each scenario; columns in the order of objectives."""
    heads, task = by_scenario(shape), declared.layers(declared.task)
    towers = []
    for name, own in heads.items():
        of_tower = weights.under(f"{name}.")
        layers, last_width, last = hidden_layers(task, width, of_tower)
        top = linear(of_tower.under(f"{last}."), last_width, len(own) * shape.output_width)
        towers.append(in_turn([*layers, top]))
    given = np.array([number for own in heads.values() for number in own])
    columns_OD = np.arange(shape.owed_width).reshape(len(given), -1)
    order = columns_OD[given.argsort()].flatten()

    def run(shared_BW: Floats) -> Floats:
        made = np.concatenate([tower(shared_BW) for tower in towers], axis=1)
        found: Floats = made[:, order]
        return found

    return run
