"""Configurations to copy, shipped with the wheel so that the demo works from any folder."""
