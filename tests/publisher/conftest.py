from pathlib import Path

import pytest

from tests.publisher import checkpoint_fixture as made
from twintide.clock import HeldClock
from twintide.config import Deployment


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return made.deployment_at(tmp_path / "data")


@pytest.fixture
def clock() -> HeldClock:
    return made.held_clock()
