"""Three days of the default world, simulated once for all tests."""

from datetime import datetime

import pyarrow as pa
import pytest

from clickworld import ClickWorld, WorldConfig
from tests.clickworld.days import START_AT, Days


@pytest.fixture(scope="session")
def days() -> Days:
    world = ClickWorld(WorldConfig())
    return Days(world, pa.concat_tables(world.hours(START_AT, 72)))


@pytest.fixture
def start_at() -> datetime:
    return START_AT
