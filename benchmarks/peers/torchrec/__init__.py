"""TorchRec as a contestant, and what its environment holds."""
