"""The live version to answers: load, verify, answer, follow promotions and rollbacks."""
