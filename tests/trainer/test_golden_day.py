"""What the golden day gives is what it gave: a move that means to change no number changes none."""

from typing import Any

import numpy as np

from tests.trainer import golden_day
from tests.trainer.conftest import MakeLine


def test_the_checkpoints_of_the_golden_day_are_what_they_were(make_line: MakeLine) -> None:
    """To the byte on a machine like the one that kept them; elsewhere whole numbers to the byte and
    floats to 1e-4, since another processor adds up in another order, but for one that nothing but
    this order decides.
    """
    arrays = golden_day.arrays_of(golden_day.trained(make_line(golden_day.EVERY_KIND)))
    golden, known = golden_day.kept()

    assert sorted(arrays) == sorted(known["digests"])
    for name, expected in golden.items():
        if name.endswith(golden_day.UNDECIDED):
            continue
        is_float = np.issubdtype(expected.dtype, np.floating)
        near: Any = np.isclose(arrays[name], expected, atol=1e-4) if is_float else None
        assert near.all() if is_float else np.array_equal(arrays[name], expected), name
    if known["made_on"] == golden_day.machine():
        digests = golden_day.digests_of(arrays)
        assert [name for name in digests if digests[name] != known["digests"][name]] == []
