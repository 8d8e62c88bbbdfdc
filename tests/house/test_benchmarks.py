"""That what `benchmarks/` declares is still what the program takes."""

from pathlib import Path

import pytest

from benchmarks.models.contestants import CONTESTANTS, Contestant, declared
from twintide.config import load

KUAIRAND = Path(__file__).parents[2] / "configs" / "kuairand.yaml"


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda one: one.name)
def test_every_contestant_is_a_model_that_may_be_declared(contestant: Contestant) -> None:
    """A run of an hour must not end at the first contestant of a renamed key."""
    deployment = declared(load(KUAIRAND), contestant, seed=2)

    assert deployment.training.seed == 2
