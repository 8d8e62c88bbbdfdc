"""What of a lane stays in one process: a model policy with one seed and the exact search beside it,
or lists.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.kept import Arrays, Kept, json_in, json_to_array, marks_in, marks_to_arrays
from evaluation.runner import Runner

_STANDING = "standing"


@dataclass
class Unit:
    """Runners that need nothing of others but slices."""

    runners: Sequence[Runner]
    kept: Kept
    done: int = 0
    """Ticks that its runners have behind them."""

    def keep(self, parts: int) -> None:
        """The tick that was just done, whose clicks were scored in so many parts."""
        arrays: Arrays = {_STANDING: json_to_array([each.standing() for each in self.runners])}
        for place, runner in enumerate(self.runners):
            marks = runner.board.marks[len(runner.board.marks) - parts :]
            found = marks_to_arrays(marks).items()
            arrays |= {f"{place}:{name}": each for name, each in found}
        self.kept.add(self.done, arrays)
        self.done += 1

    def take_up(self, until: int) -> None:
        """What was kept of the first so many ticks, where this has not got it yet."""
        while self.done < until:
            arrays = self.kept.read(self.done)
            for place, (runner, standing) in enumerate(
                zip(self.runners, json_in(arrays[_STANDING]), strict=True)
            ):
                start = f"{place}:"
                own = {
                    name.removeprefix(start): each
                    for name, each in arrays.items()
                    if name.startswith(start)
                }
                for marks in marks_in(own):
                    runner.board.add(marks)
                runner.go_on(standing)
            self.done += 1
