"""What an evaluation has scored so far, tick by tick, so that a stopped one goes on.

A file for each tick holds the clicks that were scored, what every policy's lists were worth for
them, and where each policy stood. What lists are made of is counted anew from the slices, and
models lie in their folders: figures are the same in one piece or in many.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.runner import Runner
from evaluation.scored import Answering, Clicks, Marks
from twintide.files import make_folder, publish_file

Arrays = dict[str, npt.NDArray[Any]]
_STANDING = "standing"


@dataclass(frozen=True)
class Kept:
    """The ticks of one lane."""

    folder: Path

    def ticks(self) -> int:
        """How many are done."""
        return len(list(self.folder.glob("*.npz")))

    def add(self, clicks: Sequence[Clicks], runners: Sequence[Runner]) -> None:
        """One more, in which these clicks were scored."""
        arrays: Arrays = {}
        for part, each in enumerate(clicks):
            arrays |= _of_clicks(each, f"{part}/")
            for place, runner in enumerate(runners):
                marks = runner.board.marks[len(runner.board.marks) - len(clicks) + part]
                arrays |= _of_marks(marks, f"{part}/{place}/")
        standing = [runner.standing() for runner in runners]
        arrays[_STANDING] = np.frombuffer(json.dumps(standing).encode(), np.uint8)
        make_folder(self.folder)
        data = io.BytesIO()
        np.savez(data, **arrays)  # type: ignore[arg-type]  # its stubs take these for its own options
        publish_file(self.folder / f"{self.ticks():06}.npz", data.getvalue())

    def restore(self, clicks: list[Clicks], runners: Sequence[Runner]) -> int:
        """Take up all that is kept; how many ticks that is."""
        for path in sorted(self.folder.glob("*.npz")):
            with np.load(path, allow_pickle=False) as found:
                arrays = dict(found)
            for part in range(len({name.partition("/")[0] for name in arrays} - {_STANDING})):
                clicks.append(_clicks_in(arrays, f"{part}/"))
                for place, runner in enumerate(runners):
                    runner.board.add(_marks_in(arrays, f"{part}/{place}/"))
        done = self.ticks()
        if done:
            standing = json.loads(arrays[_STANDING].tobytes())
            for runner, each in zip(runners, standing, strict=True):
                runner.go_on(each)
        return done


def _of_clicks(clicks: Clicks, prefix: str) -> Arrays:
    groups = {f"{prefix}groups/{name}": each for name, each in clicks.groups.items()}
    names = ("at_ms", "items", "users", "ticks_ms")
    return {f"{prefix}{name}": getattr(clicks, name) for name in names} | groups


def _clicks_in(arrays: Arrays, prefix: str) -> Clicks:
    start = f"{prefix}groups/"
    groups = {name.removeprefix(start): arrays[name] for name in arrays if name.startswith(start)}
    names = ("at_ms", "items", "users", "ticks_ms")
    return Clicks(**{name: arrays[f"{prefix}{name}"] for name in names}, groups=groups)


def _of_marks(marks: Marks, prefix: str) -> Arrays:
    numbers = {
        "places": marks.places,
        "head_places": marks.head_places,
        "distance_sum": marks.distance_sum,
        "distances": marks.distances,
        "answering": asdict(marks.answering),
    }
    return {
        f"{prefix}positions": marks.positions,
        f"{prefix}shown": marks.shown,
        f"{prefix}numbers": np.frombuffer(json.dumps(numbers).encode(), np.uint8),
    }


def _marks_in(arrays: Arrays, prefix: str) -> Marks:
    numbers = json.loads(arrays[f"{prefix}numbers"].tobytes())
    answering = Answering(**numbers.pop("answering"))
    positions, shown = arrays[f"{prefix}positions"], arrays[f"{prefix}shown"]
    return Marks(positions, shown, **numbers, answering=answering)
