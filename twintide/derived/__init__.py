"""The derived state: what the stream alone tells of users and items, and how a checkpoint has it.

The trainer's ordered pass changes it, and who publishes reads it out of a checkpoint.
"""
