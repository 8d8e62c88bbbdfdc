"""One tower, made from its declaration."""

from importlib import import_module

from torch import nn

from twintide.towers import Shape, Tower


def tower(declared: Tower, shape: Shape) -> nn.Module:
    """[B, X] to [B, D], with its first weights drawn."""
    body: nn.Module = import_module(f"twintide.model.towers.{declared.kind}").body(declared, shape)
    return body
