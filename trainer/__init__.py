"""Shards to slices, slices to checkpoints: the nightly retrain and the hourly pass.

days -> slicing (derived) -> epoch -> learner (kernel, losses, rows) -> passes -> publishing

hourly, nightly, rewind and rebuild are the runs of a line (run, line).
"""
