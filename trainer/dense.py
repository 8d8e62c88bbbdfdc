"""How dense weights learn: Adam (Kingma and Ba, 2015), its moments kept as named arrays.

torch.optim.Adam does the same, and pulls in torch's compiler: two seconds at each start.
"""

import numpy as np
import torch
from torch import Tensor, nn

from twintide.arrays import Arrays

BETAS = (0.9, 0.999)
EPSILON = 1e-8
PREFIX = "optimizer.adam."


def begun_at(name: str) -> str:
    """The array that holds how many steps had been taken when a parameter began; none: 0."""
    return f"{PREFIX}begun.{name}"


class DenseOptimizer:
    """Adam over all parameters of a module."""

    def __init__(self, module: nn.Module, arrays: Arrays) -> None:
        """`arrays`: what `arrays()` gave, or an empty dictionary to begin anew."""
        self._parameters = dict(module.named_parameters())
        self._steps = int(arrays.get(f"{PREFIX}steps", np.zeros(1))[0])
        self._mean = {name: self._moment(arrays, "mean", name) for name in self._parameters}
        self._square = {name: self._moment(arrays, "square", name) for name in self._parameters}
        self._begun = {
            name: int(array[0])
            for name in self._parameters
            if (array := arrays.get(begun_at(name))) is not None
        }

    @property
    def steps(self) -> int:
        """How many it has taken, since the weights were first drawn."""
        return self._steps

    def _moment(self, arrays: Arrays, kind: str, name: str) -> Tensor:
        parameter = self._parameters[name]
        saved = arrays.get(f"{PREFIX}{kind}.{name}")
        if saved is None:
            return torch.zeros_like(parameter, requires_grad=False)
        return torch.from_numpy(saved.copy()).to(parameter.device)

    @torch.no_grad()
    def squares(self) -> Tensor:
        """The sum of all gradients' squares: not finite where the moments would not be."""
        grads = (each.grad for each in self._parameters.values())
        return torch.stack([each.square().sum() for each in grads if each is not None]).sum()

    @torch.no_grad()
    def step(self, *, learning_rate: float) -> None:
        """Move every parameter along its gradient, then forget the gradient."""
        self._steps += 1
        mean_share, square_share = (1 - beta for beta in BETAS)
        for name, parameter in self._parameters.items():
            if parameter.grad is None:
                continue
            steps = self._steps - self._begun.get(name, 0)
            rate = learning_rate / (1 - BETAS[0] ** steps)
            correction = (1 - BETAS[1] ** steps) ** 0.5
            self._mean[name].lerp_(parameter.grad, mean_share)
            self._square[name].lerp_(parameter.grad.square(), square_share)
            size = (self._square[name].sqrt() / correction).add_(EPSILON)
            parameter.addcdiv_(self._mean[name], size, value=-rate)
            parameter.grad = None

    def arrays(self) -> Arrays:
        found: Arrays = {f"{PREFIX}steps": np.array([self._steps])}
        for name in self._parameters:
            found[f"{PREFIX}mean.{name}"] = self._mean[name].cpu().numpy()
            found[f"{PREFIX}square.{name}"] = self._square[name].cpu().numpy()
        for name, steps in self._begun.items():
            found[begun_at(name)] = np.array([steps])
        return found
