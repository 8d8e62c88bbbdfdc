"""The learner beside TorchRec and TensorFlow Recommenders: the same model, the same clicks.

Each contestant is a child process, in an environment of its own where it needs one, which learns
when it is told to. So they take turns within one run, however little their packages agree.
"""
