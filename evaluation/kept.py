"""What an evaluation has scored so far, tick by tick, so that a stopped one goes on.

For each tick there is a file of the clicks that were scored, and one of each unit of policies: what
their lists were worth for these clicks, and where each policy stood. Units may be driven by several
processes, so each is kept for itself. What lists are made of is counted anew from the slices, and
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

from evaluation.scored import Answering, Clicks, Marks
from twintide.files import make_folder, publish_file

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Kept:
    """One file for each tick, from the first on."""

    folder: Path

    def ticks(self) -> int:
        """How many are there."""
        return len(list(self.folder.glob("*.npz")))

    def has(self, number: int) -> bool:
        """Whether the tick with this number, from 0, is there."""
        return self._path(number).exists()

    def add(self, number: int, arrays: Arrays) -> None:
        """The tick with this number."""
        make_folder(self.folder)
        data = io.BytesIO()
        np.savez(data, **arrays)  # type: ignore[arg-type]  # its stubs take these for its own options
        publish_file(self._path(number), data.getvalue())

    def read(self, number: int) -> Arrays:
        """What `add` was given."""
        with np.load(self._path(number), allow_pickle=False) as found:
            return dict(found)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.npz"


_OF_CLICKS = ("at_ms", "items", "users", "ticks_ms")


def clicks_to_arrays(clicks: Sequence[Clicks]) -> Arrays:
    """The clicks of a tick, in parts."""
    found: Arrays = {}
    for part, each in enumerate(clicks):
        found |= {f"{part}/{name}": getattr(each, name) for name in _OF_CLICKS}
        found |= {f"{part}/groups/{name}": inside for name, inside in each.groups.items()}
    return found


def clicks_in(arrays: Arrays) -> list[Clicks]:
    """What `clicks_to_arrays` was given."""
    return [_clicks_in(arrays, f"{part}/") for part in range(_parts(arrays))]


def _clicks_in(arrays: Arrays, prefix: str) -> Clicks:
    start = f"{prefix}groups/"
    groups = {name.removeprefix(start): arrays[name] for name in arrays if name.startswith(start)}
    return Clicks(**{name: arrays[f"{prefix}{name}"] for name in _OF_CLICKS}, groups=groups)


def marks_to_arrays(marks: Sequence[Marks]) -> Arrays:
    """What a policy's lists were worth for the parts of a tick."""
    found: Arrays = {}
    for part, each in enumerate(marks):
        numbers = {
            "places": each.places,
            "head_places": each.head_places,
            "distance_sum": each.distance_sum,
            "distances": each.distances,
            "answering": asdict(each.answering),
        }
        found[f"{part}/positions"], found[f"{part}/shown"] = each.positions, each.shown
        found[f"{part}/numbers"] = json_to_array(numbers)
    return found


def marks_in(arrays: Arrays) -> list[Marks]:
    """What `marks_to_arrays` was given."""
    return [_marks_in(arrays, f"{part}/") for part in range(_parts(arrays))]


def _marks_in(arrays: Arrays, prefix: str) -> Marks:
    numbers = json_in(arrays[f"{prefix}numbers"])
    answering = Answering(**numbers.pop("answering"))
    positions, shown = arrays[f"{prefix}positions"], arrays[f"{prefix}shown"]
    return Marks(positions, shown, **numbers, answering=answering)


def _parts(arrays: Arrays) -> int:
    return len({name.partition("/")[0] for name in arrays})


def json_to_array(value: Any) -> npt.NDArray[np.uint8]:
    """Words of JSON as an array."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def json_in(array: npt.NDArray[np.uint8]) -> Any:
    """What `json_to_array` was given."""
    return json.loads(array.tobytes())
