"""An index in a file of the version, which Faiss searches in the process that asks."""
