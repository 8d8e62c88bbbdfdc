"""Item indexes: which items' vectors have the largest inner product with a query's.

`backend.py` says what a backend is, `backends.py` which there are; each has a folder of its own.
"""
