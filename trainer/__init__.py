"""Shards to slices, slices to checkpoints: the nightly retrain and the hourly pass.

days -> slicing (derived) -> epoch -> learner (kernel, losses, rows) -> run (line)
"""
