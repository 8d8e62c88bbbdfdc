"""Into how many lists an index of so many items is divided; one is an exact index."""

import math
from typing import Literal

FLAT_UP_TO_ITEMS = 20_000
"""As many are compared in about the time that an answer takes besides. From there on an inverted
file that finds .98 of the best takes a fifth to a tenth of it, and where nothing lies near to
anything else, as long (measured, docs/benchmarks.md).
"""

_MIN_ITEMS_PER_LIST = 39
"""Below this k-means has too little to learn a list's centre from (Faiss warns)."""


def lists_for(items: int, kind: Literal["auto", "flat", "ivf"]) -> int:
    """As the configuration has it."""
    is_exact = kind == "flat" or (kind == "auto" and items <= FLAT_UP_TO_ITEMS)
    return 1 if is_exact else list_count(items)


def list_count(items: int) -> int:
    """About 2·√items, a power of two, and enough items for each list."""
    wanted = 1 << round(math.log2(max(2.0 * math.sqrt(items), 1.0)))
    while wanted > 1 and wanted * _MIN_ITEMS_PER_LIST > items:
        wanted //= 2
    return wanted
