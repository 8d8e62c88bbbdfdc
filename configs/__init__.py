"""Configurations to copy, shipped with the wheel so that the demo works from any folder."""

from importlib import resources


def shipped(name: str) -> str:
    """The text of a configuration file that comes with Twintide."""
    return (resources.files(__package__) / f"{name}.yaml").read_text(encoding="utf-8")
