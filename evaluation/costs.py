"""What a policy costs: seconds of this machine's processors, by what they were spent on. They are
the same with others at work beside it.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from twintide.clock import processor_seconds

PARTS = ("slicing", "training", "publishing", "statistics", "lists")
"""Cutting slices and folding them into what is known; nightly and hourly runs; encoding items,
index and version, taken up; statistics between passes; a baseline's counts and lists.
"""


@dataclass
class Costs:
    """Seconds so far."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Whatever the block takes is spent on that part."""
        began = processor_seconds()
        yield
        self.seconds[part] += processor_seconds() - began

    def total(self) -> float:
        """All of it."""
        return sum(self.seconds.values())

    def rounded(self) -> dict[str, float]:
        """By part, as a report has it."""
        return {part: round(self.seconds[part], 3) for part in PARTS if self.seconds[part]}
