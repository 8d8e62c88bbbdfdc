"""The two-tower model as it is applied: ids to rows, rows to inputs, inputs to vectors.

The trainer changes it, the publisher encodes items with its candidate tower, the server encodes
requests with its query tower: with `exported`, in numpy. All else here needs torch.
"""

import os

# Without this, small operations of torch take 8 ms when another process holds a core (measured).
# It is read once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
