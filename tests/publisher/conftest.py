import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from publisher.publish import publish
from tests.publisher import checkpoint_fixture as made
from tests.publisher.milvus_fixture import Milvus, milvus_in
from twintide.clock import HeldClock
from twintide.config import Deployment


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return made.deployment_at(tmp_path / "data")


@pytest.fixture
def clock() -> HeldClock:
    return made.held_clock()


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Milvus]:
    with milvus_in(tmp_path_factory.mktemp("milvus") / "milvus.db") as running:
        yield running


@pytest.fixture(scope="session")
def versions_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The data folder of a deployment with so many versions, each of another seed; made once."""
    built: dict[int, Path] = {}

    def folder(count: int) -> Path:
        if count not in built:
            built[count] = tmp_path_factory.mktemp(f"{count}_versions") / "data"
            deployment = made.deployment_at(built[count])
            for sequence in range(1, count + 1):
                made.add_checkpoint(deployment, sequence, seed=sequence)
                publish(deployment, clock=made.held_clock())
        return built[count]

    return folder


@pytest.fixture
def with_versions(
    versions_once: Callable[[int], Path], deployment: Deployment
) -> Callable[[int], Deployment]:
    """Give the test's deployment so many versions, the last one live."""

    def copied(count: int) -> Deployment:
        shutil.copytree(versions_once(count), deployment.data_dir)
        return deployment

    return copied
