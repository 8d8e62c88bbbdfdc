"""Towers, applied: pooled inputs [B, X] to vectors [B, D]. One module for each kind that
`twintide.towers` declares, named as the kind; its `body` makes the torch module, and `auxiliary`,
where it has one, is a loss beside the loss.

In train mode, which the learner alone switches on and off, a tower may draw random numbers and move
its buffers. Whoever applies a tower has it in eval mode: there it is a function of inputs and
weights, and that is the exported form.
"""

from twintide.model.towers.both import Towers

__all__ = ["Towers"]
