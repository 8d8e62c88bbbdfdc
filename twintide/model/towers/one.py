"""One tower, made from its declaration: the body of its kind, and what is done before and after.

Shapes: B rows, X inputs, F features, O vectors of width D, one for each objective.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor, nn

from twintide.model.towers.axes import Axes, features
from twintide.model.towers.layers import ACTIVATIONS
from twintide.towers import Senet, Shape, Tower


def tower(declared: Tower, shape: Shape) -> nn.Module:
    """[B, X] to [B, O · D], with its first weights drawn."""
    body: nn.Module = _module(declared).body(declared, shape)
    return Staged(body, declared, shape) if declared.is_staged() else body


def axes_of(declared: Tower, shape: Shape) -> Axes:
    """What the axes of a tower's weights stand for, by the names that its body has by itself."""
    own: Axes = _module(declared).axes(declared, shape)
    weighed = features(shape)
    of_stage = {"squeeze.weight": {1: weighed}, "excite.weight": {0: weighed}}
    of_stage |= {"excite.bias": {0: weighed}}
    return {**own, **{f"feature_weights.{name}": axis for name, axis in of_stage.items()}}


Auxiliary = Callable[..., Tensor]
"""Takes `Seen` and `learns_dense`; returns what is learnt beside the loss."""


def auxiliary_of(declared: Tower, shape: Shape) -> Auxiliary | None:
    """The loss of its own that a kind has: `auxiliary` of its module; most have none."""
    found: Auxiliary | None = getattr(_module(declared), "auxiliary", None)
    return found and partial(found, declared, shape)


def _module(declared: Tower) -> ModuleType:
    return import_module(f"twintide.model.towers.{declared.kind}")


class Staged(nn.Module):
    """A body between its stages."""

    def __init__(self, body: nn.Module, declared: Tower, shape: Shape) -> None:
        super().__init__()
        self.body = body
        weights = declared.feature_weights
        self.feature_weights = FeatureWeights(weights, shape) if weights else nn.Identity()
        self.output = ACTIVATIONS[declared.output_activation]()
        self._residual = shape.places[declared.residual].columns if declared.residual else None
        self._heads = len(shape.heads)

    def forward(self, inputs_BX: Tensor) -> Tensor:
        """[B, O · D]. A residual is in each of the vectors."""
        vectors: Tensor = self.output(self.body(self.feature_weights(inputs_BX)))
        if self._residual is None:
            return vectors
        return vectors + inputs_BX[:, self._residual].repeat(1, self._heads)


class FeatureWeights(nn.Module):
    """SENet (Hu et al., CVPR 2018; on features: FiBiNET, Huang et al., RecSys 2019): each feature's
    mean, two layers over these means, and each feature times its weight.

    Weights lie in 0..2. FiBiNET's last ReLU can turn a feature off for every row and for good, and
    then the rows of its table do not learn in any hourly pass either.

    The first ReLU is of few units, so each begins well above 0. By the usual first weights two of
    them were both 0 for every row of new ids, and so for good, with one seed in four.
    """

    _means_XF: Tensor
    _feature_X: Tensor

    def __init__(self, declared: Senet, shape: Shape) -> None:
        super().__init__()
        widths = torch.tensor([place.width for place in shape.places.values()])
        features = len(widths)
        squeezed = -(-features // declared.reduction_ratio)
        self.squeeze = nn.Linear(features, squeezed)
        nn.init.ones_(self.squeeze.bias)
        self.excite = nn.Linear(squeezed, features)
        of_feature = torch.repeat_interleave(torch.arange(features), widths)
        means = nn.functional.one_hot(of_feature, features) / widths
        self.register_buffer("_means_XF", means, persistent=False)
        self.register_buffer("_feature_X", of_feature, persistent=False)

    def forward(self, inputs_BX: Tensor) -> Tensor:
        """[B, X]"""
        squeezed = torch.relu(self.squeeze(inputs_BX @ self._means_XF))
        weights_BF = 2 * torch.sigmoid(self.excite(squeezed))
        return inputs_BX * weights_BF[:, self._feature_X]
