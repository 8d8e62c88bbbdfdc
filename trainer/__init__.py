"""Shards to slices, slices to checkpoints: the nightly retrain and the hourly pass.

days -> slicing (derived) -> epoch -> learner (softmax, frequency, rows) -> run (line)
"""
