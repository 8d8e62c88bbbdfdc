"""Eight processes that publish, go back, hold, pin and collect at once, against a model.

`--log-cli-level=INFO` shows how many changes of each kind there were.
"""

import json
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from publisher import registry
from publisher.reader import load_version
from tests.publisher.registry_rival import CHECKPOINTS
from twintide.config import Deployment
from twintide.versions import Change, ServingState, read_state, version_names

RIVAL = Path(__file__).with_name("registry_rival.py")
PROCESSES = 8


def rounds(count: int) -> list[Any]:
    """Of `make faults`: each begins anew, so that the state file remembers every change of it."""
    marks = [pytest.mark.faults, pytest.mark.timeout(900)]
    return [pytest.param(seed, 150, marks=marks) for seed in range(1, count + 1)]


@dataclass
class Model:
    """What a serving state is, as plainly as it can be said."""

    pile: list[str]
    previous: str | None
    is_held: bool = False
    pins: set[str] = field(default_factory=set)
    collected: set[str] = field(default_factory=set)
    """In the whole of it: what went is never there again."""

    def apply(self, action: str, name: str | None, asked: str | None) -> None:
        """One change; `asked` is the version that a rollback named, None for the one before."""
        match action:
            case "promote":
                assert not self.is_held
                self.move(self.pile, name or "")
            case "rollback":
                name = name or ""
                assert name == asked or (asked is None and self.is_next_below(name))
                left = self.pile[: self.pile.index(name)] if name in self.pile else self.pile
                self.move(left, name)
                self.is_held = True
            case "hold" | "release":
                assert action == "hold" or self.is_held
                self.is_held = action == "hold"
            case "pin":
                self.pins.add(name or "")
            case "unpin":
                self.pins.remove(name or "")

    def is_next_below(self, name: str) -> bool:
        """Whether it was live before the live version, and all in between are gone."""
        below = self.pile[:-1]
        while below and below[-1] != name and below[-1] in self.collected:
            below.pop()
        return below[-1:] == [name]

    def move(self, below: list[str], name: str) -> None:
        assert name != self.pile[-1]
        self.previous = self.pile[-1]
        self.pile = [*below, name]


def said_by_rivals(root: Path, seed: int, count: int) -> dict[str, list[list[Any]]]:
    """What each kind of change came to, of all processes together."""
    rivals = [
        subprocess.Popen(
            [sys.executable, str(RIVAL), str(root), str(seed * PROCESSES + number), str(count)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    said: dict[str, list[list[Any]]] = {"changed": [], "published": [], "collected": []}
    for line in "".join(rival.communicate()[0] for rival in rivals).splitlines():
        kind, *rest = json.loads(line)
        said[kind].append(rest)
    assert [rival.returncode for rival in rivals] == [0] * PROCESSES
    return said


def lost(told: dict[int, list[Any]], made: list[Change]) -> list[int]:
    """Generations of changes that a process was told of, and that the history has not so."""
    found = {each.generation: [each.action, each.version or each.current] for each in made}
    return [at for at, (action, name, _) in told.items() if found.get(at) != [action, name]]


def replayed(
    before: ServingState, told: dict[int, list[Any]], made: list[Change], collected: set[str]
) -> Model:
    """The model after all changes, one after the other."""
    model = Model(registry.live_pile(before), before.previous, collected=collected)
    for each in made:
        untold = [each.action, each.version or each.current, None]
        model.apply(*told.get(each.generation, untold))
        assert model.pile[-1] == each.current
    return model


@pytest.mark.long
@pytest.mark.promise("P9")
@pytest.mark.parametrize(("seed", "count"), [(0, 20), *rounds(10)])
def test_changes_of_several_processes_are_as_if_one_after_the_other(
    with_versions: Callable[[int], Deployment],
    seed: int,
    count: int,
) -> None:
    """Every change that a process was told of is in the history, once; all others are the
    promotions of its publishes; each generation counts one up; the model replayed gives the state
    at the end; what is live or pinned, and what was live before it, is there; what is there is
    whole.
    """
    root = with_versions(CHECKPOINTS).versions_dir
    before = read_state(root)

    said = said_by_rivals(root, seed, count)

    state = read_state(root)
    made = list(state.history[len(before.history) :])
    told = {generation: rest for generation, *rest in said["changed"]}
    assert len(told) == len(said["changed"])
    assert lost(told, made) == []
    assert [each.generation for each in made] == [
        *range(before.generation + 1, state.generation + 1)
    ]
    untold = [each for each in made if each.generation not in told]
    assert {each.action for each in untold} <= {"promote"}
    assert Counter(each.current for each in untold) == Counter(
        version for version, was_promoted in said["published"] if was_promoted
    )
    collected = {name for (names,) in said["collected"] for name in names}
    model = replayed(before, told, made, collected)
    assert (model.pile, model.previous) == (registry.live_pile(state), state.previous)
    assert (model.is_held, model.pins) == (state.hold is not None, set(state.pins))
    there = version_names(root)
    assert {state.current, state.previous, *state.pins} <= set(there)
    assert not collected & set(there)
    for name in there:
        load_version(root, name)
    counted = Counter(each.action for each in made) | {
        "publishes": len(said["published"]),
        "collections": len(said["collected"]),
        "collected": sum(len(names) for (names,) in said["collected"]),
    }
    logging.getLogger(__name__).info("%d changes: %s", len(made), dict(counted))
    assert {"promote", "rollback", "pin", "publishes", "collections"} <= {
        action for action, times in counted.items() if times
    }
