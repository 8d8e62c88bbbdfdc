"""Checkpoints to versions to the live pointer: build, gate, promote, roll back. No Kafka."""
