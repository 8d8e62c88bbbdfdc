"""TensorFlow Recommenders as a contestant, and what its environment holds."""
