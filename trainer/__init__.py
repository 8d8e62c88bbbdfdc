"""Shards to slices, slices to checkpoints: the nightly retrain and the hourly pass.

days -> slicing (derived) -> epoch -> learner -> passes -> publishing

learner: kernel and losses give gradients, row_optimizer and dense take their steps;
hourly, nightly, rewind and rebuild are the runs of a line (run, line).
"""
