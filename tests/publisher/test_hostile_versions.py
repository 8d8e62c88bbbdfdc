"""Versions whose hashes and seals are right and whose content is not: nobody but an attacker, or a
publisher with a fault, would write them. Loading one gives a version or Corrupt, and runs no code.
"""

import hashlib
import io
import json
import pickle  # noqa: TID251  what an attacker would write
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publisher import registry
from publisher.publish import publish
from publisher.reader import load_version
from tests.mutations import changed, damaged
from tests.publisher import checkpoint_fixture as made
from twintide.arrays import MANIFEST
from twintide.config import Deployment
from twintide.errors import Corrupt
from twintide.versions import INDEX_BASE, STATE, read_state

IN_CI = pytest.mark.long


def many(count: int) -> Any:
    """For `make faults`."""
    return pytest.param(count, marks=[pytest.mark.faults, pytest.mark.timeout(3600)])


@pytest.fixture(params=["flat", "ivf", "goes on"])
def version(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small version with either index, or with one that goes on from that of another."""
    kind = "flat" if request.param == "flat" else "ivf"
    deployment = made.deployment_at(tmp_path / "data", publishing={"index": kind, "nprobe": 2})
    made.add_checkpoint(deployment, 1, items=made.item_range(1000, 400))
    publish(deployment, clock=made.held_clock(), judge=False)
    if request.param != "goes on":
        return deployment.versions_dir / "v000001"
    made.add_checkpoint(deployment, 2, items=made.item_range(1000, 402), noise=0.001)
    publish(deployment, clock=made.held_clock(), judge=False)
    assert (deployment.versions_dir / "v000002" / INDEX_BASE).exists()
    return deployment.versions_dir / "v000002"


def put(version: Path, name: str, data: bytes) -> None:
    """Write a file of a version, and its hash into the manifest."""
    manifest = json.loads((version / MANIFEST).read_bytes())
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["seal"] = ""
    (version / name).unlink()  # others may have a name for it
    (version / name).write_bytes(data)
    (version / MANIFEST).write_bytes(sealed(manifest))


def sealed(manifest: Any) -> bytes:
    """As a publisher would write it, with a seal that fits; the seal in it is empty."""
    open_ = json.dumps(manifest).encode()
    digest = hashlib.sha256(open_).hexdigest().encode()
    return open_.replace(b'"seal": ""', b'"seal": "' + digest + b'"')


def loads_or_is_corrupt(version: Path) -> bool:
    """Whether it loads; anything but Corrupt fails the test."""
    try:
        load_version(version.parent, version.name)
    except Corrupt:
        return False
    return True


@pytest.mark.promise("P1")
@pytest.mark.parametrize("count", [100, pytest.param(1_000, marks=IN_CI), many(6_000)])
def test_a_manifest_of_any_content_is_a_version_or_corrupt(version: Path, count: int) -> None:
    """Values replaced, removed, doubled or added at random places, half of them in the model that
    it declares, and sealed anew.
    """
    rng = random.Random(count)
    sound = json.loads((version / MANIFEST).read_bytes()) | {"seal": ""}
    corrupt = 0
    for number in range(count):
        odd = changed(sound["model"], rng, keys=[*sound["model"], "width", "residual"])
        made = sound | {"model": odd} if number % 2 else changed(sound, rng, keys=list(sound))
        (version / MANIFEST).write_bytes(sealed(made))
        corrupt += not loads_or_is_corrupt(version)
    assert corrupt > count / 2


@pytest.mark.promise("P1")
@pytest.mark.parametrize("words", ["index", "sample", "table", "dense", "history", "items"])
@pytest.mark.parametrize("count", [15, many(500)])
def test_a_file_of_any_content_is_part_of_a_version_or_corrupt(
    version: Path, words: str, count: int
) -> None:
    """Flipped, cut and doubled bytes, most of them in the head, with hashes that fit. Faiss was
    made to search for minutes by a changed count.
    """
    rng = random.Random(count)
    names = [path.name for path in sorted(version.iterdir()) if path.name.startswith(words)]
    corrupt = 0
    for _ in range(count):
        name = rng.choice(names)
        sound = (version / name).read_bytes()
        upto = rng.choice([100, 400, len(sound)])
        put(version, name, damaged(sound[:upto], rng) + sound[upto:])
        corrupt += not loads_or_is_corrupt(version)
        put(version, name, sound)
    assert corrupt > count / 3


def doubled(features: Any) -> Any:
    return [*features, features[-1]]


@pytest.mark.promise("P1")
@pytest.mark.parametrize("key", ["query", "candidate", "tower"])
def test_a_version_declares_a_model_that_can_be_built(version: Path, key: str) -> None:
    """A feature twice, a residual that is no feature: RuntimeError and KeyError, deep in torch."""
    sound = json.loads((version / MANIFEST).read_bytes()) | {"seal": ""}
    own = sound["model"][key]
    odd = doubled(own) if key != "tower" else own | {"residual": "nothing"}
    made = sound | {"model": sound["model"] | {key: odd}}
    (version / MANIFEST).write_bytes(sealed(made))
    with pytest.raises(Corrupt, match="damaged, or was made by another program"):
        load_version(version.parent, version.name)


@pytest.mark.promise("P1")
def test_a_version_names_the_checkpoint_that_it_was_made_from(version: Path) -> None:
    """One that names none was live, and every later publish ended in a ValueError."""
    sound = json.loads((version / MANIFEST).read_bytes()) | {"seal": ""}
    (version / MANIFEST).write_bytes(sealed(sound | {"checkpoint": "mine"}))
    with pytest.raises(Corrupt, match="at checkpoint"):
        load_version(version.parent, version.name)


@pytest.mark.parametrize("count", [300, pytest.param(4_000, marks=IN_CI), many(100_000)])
def test_a_state_of_any_content_is_a_state_or_corrupt(
    with_versions: Callable[[int], Deployment], count: int
) -> None:
    """And what is read can be written again, and says what a rollback would go back to."""
    root = with_versions(3).versions_dir
    registry.hold(root, reason="quiet", clock=made.held_clock())
    rng = random.Random(count)
    sound = json.loads((root / STATE).read_bytes())
    corrupt = 0
    for _ in range(count):
        data = json.dumps(changed(sound, rng, keys=list(sound))).encode()
        (root / STATE).write_bytes(damaged(data, rng) if rng.random() < 0.3 else data)
        try:
            state = read_state(root)
        except Corrupt:
            corrupt += 1
            continue
        state.to_json()
        registry.rollback_target(state)
    assert corrupt > count / 3


class Payload:
    """What runs code where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._mark,)


EVENTS = ("exec", "compile", "pickle.find_class", "os.system", "os.exec", "subprocess.Popen")
_heard: list[str] | None = None


def _hear(event: str, _: tuple[Any, ...]) -> None:
    if _heard is not None and event in EVENTS:
        _heard.append(event)


@contextmanager
def listening() -> Iterator[list[str]]:
    """The events of the interpreter that tell of code being loaded or run."""
    global _heard  # noqa: PLW0603  an audit hook is for ever, so it listens to a switch
    if not _hooked:
        sys.addaudithook(_hear)
        _hooked.append(True)
    _heard = []
    try:
        yield _heard
    finally:
        _heard = None


_hooked: list[bool] = []


@pytest.mark.promise("X1")
def test_loading_a_version_runs_no_code_whatever_is_in_it(version: Path, tmp_path: Path) -> None:
    """Pickles in the place of every file, as they are and inside of an array: each is Corrupt, and
    the interpreter is not asked to execute, compile, unpickle or start anything.
    """
    load_version(version.parent, version.name)  # what is imported late is imported now
    mark = tmp_path / "executed"
    pickled = pickle.dumps(Payload(mark))
    boxed = io.BytesIO()
    np.save(boxed, np.array([Payload(mark)], dtype=object), allow_pickle=True)
    cases = 0
    for path in sorted(version.iterdir()):
        sound = path.read_bytes()
        for hostile in (pickled, boxed.getvalue()):
            if path.name == MANIFEST:
                path.write_bytes(hostile)
            else:
                put(version, path.name, hostile)
            with listening() as heard, pytest.raises(Corrupt):
                load_version(version.parent, version.name)
            assert heard == []
            cases += 1
            if path.name == MANIFEST:
                path.write_bytes(sound)
            else:
                put(version, path.name, sound)
    assert cases > 40
    assert not mark.exists()


@pytest.mark.promise("X1")
def test_the_hook_hears_what_it_is_for(tmp_path: Path) -> None:
    """Unpickling the same payload is heard, and leaves its mark: so the test above can fail."""
    mark = tmp_path / "executed"
    with listening() as heard:
        pickle.loads(pickle.dumps(Payload(mark)))  # noqa: S301  on purpose

    assert "pickle.find_class" in heard
    assert mark.exists()
