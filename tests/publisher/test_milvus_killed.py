"""A publish or a refresh may die before any write to a Milvus: what is live answers as it did, and
the next one ends as if none had died.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publisher.audit import verify
from publisher.reader import load_version
from streaming.offline import write_shards
from tests.dying import Runner
from tests.publisher.milvus_fixture import Milvus
from tests.publisher.test_milvus_refresh import WITHOUT_AGES, as_encoded_whole, places
from tests.trainer.conftest import Line, at, deployment_in, small_stream
from trainer.counting import count
from twintide.clock import HeldClock
from twintide.config import Deployment, fill_in
from twintide.versions import read_state, version_names

RUNNER = Path(__file__).with_name("milvus_runner.py")
COUNTED = ("rename", "replace")
"""Steps on the disk after which something has its name; all writes to Milvus are counted too."""

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def in_child() -> Iterator[Runner]:
    runner = Runner(RUNNER)
    yield runner
    runner.close()


class Dying:
    """A deployment whose publishes and refreshes die before each of their steps in turn."""

    def __init__(self, folder: Path, milvus: Milvus, in_child: Runner) -> None:
        own = {"uri": milvus.uri, "prefix": "killed", "timeout_seconds": 30.0}
        filters = ["category", "topics"]
        self._publishing = {"milvus": own, "filters": filters, "statistics_every_minutes": 10}
        plain = deployment_in(folder / "data", WITHOUT_AGES)
        self.deployment: Deployment = fill_in(plain, {"publishing": self._publishing})
        self._in_child, self._service = in_child, milvus.service("killed")

    def dies_at_each_step(
        self, work: str, now: datetime, checkpoints: Sequence[str | None] = (None,)
    ) -> set[str]:
        """Before its first, its second and so on until it has done all, and the same again once a
        version is there, from which the next goes on; of these checkpoints in turns. What it had
        done by then.
        """
        root, done, die_before = self.deployment.versions_dir, set[str](), 1
        there = version_names(root)
        for checkpoint in cycle(checkpoints):
            answer = self._tried(work, die_before, now=now.isoformat(), checkpoint=checkpoint)
            done.update(answer["steps"])
            assert self._damaged() == []
            assert read_state(root).current in {None, *version_names(root)}
            if not answer["killed"]:
                assert answer["code"] == 0
                break
            die_before = die_before + 1 if version_names(root) == there else 1
            there = version_names(root)
        return done

    def _damaged(self) -> list[str]:
        if not version_names(self.deployment.versions_dir):
            return []
        return [name for name, found in verify(self.deployment).items() if found]

    def check(self) -> None:
        """What is live finds each of its items once, all versions answer as they were built, and
        the collection holds what they see and nothing else.
        """
        root = self.deployment.versions_dir
        assert self._damaged() == []
        live = load_version(root, read_state(root).current or "")
        everything = np.arange(live.index.items)
        queries = live.index.vectors(everything[:20])
        _, found = live.index.search(queries, live.index.items)
        assert (np.sort(found, axis=1) == everything).all()
        (collection,) = self._service.collections()
        rows = self._service.rows(collection, "row >= 0", ["since", "until"])
        epochs = [each.epoch for each in places(self.deployment)]
        seen = [any(row["since"] <= each < row["until"] for each in epochs) for row in rows]
        assert all(seen)

    def _tried(self, work: str, die_before: int, **asked: str | None) -> dict[str, Any]:
        return self._in_child(
            data_dir=str(self.deployment.data_dir),
            changes=WITHOUT_AGES,
            publishing=self._publishing,
            work=work,
            die_before=die_before,
            counted=COUNTED,
            **asked,
        )


@pytest.mark.timeout(300)
@pytest.mark.promise("P1")
@pytest.mark.promise("P8")
def test_whatever_writes_to_a_milvus_may_die_before_any_of_its_writes(
    tmp_path: Path, milvus: Milvus, in_child: Runner
) -> None:
    """A night, two hours that go on from it, and a refresh of one: each dies before its first
    write, then before its second, and so on, upon what the deaths before it have left, which is of
    the one hour where the other is published next.
    """
    dying = Dying(tmp_path, milvus, in_child)
    own = dying.deployment
    write_shards(own, small_stream(own, days=2), complete_until=at(2, 1))
    line = Line(own)
    line.night(0)
    night = dying.dies_at_each_step("publish", at(1, 0, 10))
    assert {"create", "add", "build", "point", "rename", "replace"} <= night
    dying.check()

    hours = [line.hour(1, hour).manifest.name for hour in (1, 2)]
    hour = dying.dies_at_each_step("publish", at(1, 2, 10), hours)
    assert {"add", "put", "settle", "take_away", "rename", "replace"} <= hour
    dying.check()

    dying.dies_at_each_step("publish", at(1, 2, 10), hours[1:])
    count(own, clock=HeldClock(at(1, 2, 40)))
    refresh = dying.dies_at_each_step("refresh", at(1, 2, 40))
    assert {"add", "settle", "rename", "replace"} <= refresh
    dying.check()
    live = load_version(own.versions_dir, version_names(own.versions_dir)[-1])
    assert live.manifest.refreshes
    assert as_encoded_whole(own, live) < 2e-3
