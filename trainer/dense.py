"""How dense weights learn: Adam (Kingma and Ba, 2015), its moments kept as named arrays.

torch.optim.Adam does the same, and pulls in torch's compiler: two seconds at each start. And it
makes a dozen small steps for each parameter, where here all of them lie in one tensor.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from twintide.arrays import Arrays

BETAS = (0.9, 0.999)
EPSILON = 1e-8
PREFIX = "optimizer.adam."
NO_PACES: Mapping[str, float] = MappingProxyType({})
ALIGNMENT = 16
"""Numbers: each parameter begins where a line of the processor's cache does."""


def begun_at(name: str) -> str:
    """The array that holds how many steps had been taken when a parameter began; none: 0."""
    return f"{PREFIX}begun.{name}"


class DenseOptimizer:
    """Adam over all parameters of a module, which it lays one after the other into one tensor."""

    def __init__(
        self,
        module: nn.Module,
        arrays: Arrays,
        *,
        paces: Mapping[str, float] = NO_PACES,
    ) -> None:
        """`arrays`: what `arrays()` gave, or an empty dictionary to begin anew. `paces`: parameters
        that move so many times as far at a step as others.
        """
        self._paces = paces
        self._parameters = dict(module.named_parameters())
        self._steps = int(arrays.get(f"{PREFIX}steps", np.zeros(1))[0])
        self._begun = {
            name: int(array[0])
            for name in self._parameters
            if (array := arrays.get(begun_at(name))) is not None
        }
        self._weights = _Laid(self._parameters)
        self._mean, self._square = _Laid(self._parameters), _Laid(self._parameters)
        self._gradients = _Laid(self._parameters)
        self._taken = list[str]()
        """Parameters that `_gradients` has a gradient of, in order."""

        for name, parameter in self._parameters.items():
            own = self._weights.parts[name]
            own.copy_(parameter.data)
            parameter.data = own
            for kind, moments in (("mean", self._mean), ("square", self._square)):
                if (saved := arrays.get(f"{PREFIX}{kind}.{name}")) is not None:
                    moments.parts[name].copy_(torch.from_numpy(saved.copy()))

    @property
    def steps(self) -> int:
        """How many it has taken, since the weights were first drawn."""
        return self._steps

    @torch.no_grad()
    def squares(self) -> Tensor:
        """The sum of all gradients' squares: not finite where the moments would not be. A step
        that does not follow is as if its gradients had not been.
        """
        self._taken.clear()
        self._take()
        total = self._gradients.whole.new_zeros(())
        for run, _, _ in self._runs():
            total += self._gradients.whole[run].square().sum()
        return total

    @torch.no_grad()
    def step(self, *, learning_rate: float) -> None:
        """Move every parameter that has a gradient along it, then forget the gradient."""
        self._take()
        self._steps += 1
        mean_share, square_share = (1 - beta for beta in BETAS)
        for run, begun, pace in self._runs():
            steps = self._steps - begun
            rate = pace * learning_rate / (1 - BETAS[0] ** steps)
            correction = (1 - BETAS[1] ** steps) ** 0.5
            gradient = self._gradients.whole[run]
            mean, square = self._mean.whole[run], self._square.whole[run]
            mean.lerp_(gradient, mean_share)
            square.lerp_(gradient.square(), square_share)
            size = (square.sqrt() / correction).add_(EPSILON)
            self._weights.whole[run].addcdiv_(mean, size, value=-rate)
        self._taken.clear()

    def _take(self) -> None:
        """Take over the gradients that the parameters have now."""
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                self._gradients.parts[name].copy_(parameter.grad)
                self._taken.append(name)
                parameter.grad = None

    def _runs(self) -> list[tuple[slice, int, float]]:
        """Parts of the one tensor that are moved by one step each, when they had begun, and their
        pace.
        """
        runs: list[tuple[slice, int, float]] = []
        for name in self._taken:
            place, begun = self._weights.places[name], self._begun.get(name, 0)
            pace = self._paces.get(name, 1.0)
            if runs and (runs[-1][0].stop, *runs[-1][1:]) == (place.start, begun, pace):
                runs[-1] = slice(runs[-1][0].start, place.stop), begun, pace
            else:
                runs.append((place, begun, pace))
        return runs

    def arrays(self) -> Arrays:
        found: Arrays = {f"{PREFIX}steps": np.array([self._steps])}
        for name in self._parameters:
            found[f"{PREFIX}mean.{name}"] = self._mean.parts[name].cpu().numpy()
            found[f"{PREFIX}square.{name}"] = self._square.parts[name].cpu().numpy()
        for name, steps in self._begun.items():
            found[begun_at(name)] = np.array([steps])
        return found


class _Laid:
    """Zeros for each of some parameters, one after the other in one tensor."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.places: dict[str, slice] = {}
        """Where each lies, with what fills it up to the next."""

        end = 0
        for name, parameter in parameters.items():
            begin, end = end, end + -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
            self.places[name] = slice(begin, end)
        likes = [parameter.data for parameter in parameters.values()]
        self.whole = likes[0].new_zeros(end) if likes else torch.zeros(0)
        self.parts = {
            name: self.whole[self.places[name]][: parameter.numel()].view(parameter.shape)
            for name, parameter in parameters.items()
        }
