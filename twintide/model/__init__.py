"""The two-tower model as it is applied: ids to rows, rows to inputs, inputs to vectors.

The trainer changes it, the publisher encodes items with its candidate tower, the server encodes
requests with its query tower. Imports torch; the ingest daemon never imports this package.
"""
