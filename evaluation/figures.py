"""What was measured of one policy, as report.json has it: in all, by group, by hour, by age."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.intervals import Hits, difference, share
from evaluation.metrics import DEPTH, KS, ratio
from evaluation.policies import Policy
from evaluation.runner import Runner
from evaluation.scored import Clicks, Scoreboard
from twintide.clock import from_unix_ms, iso
from twintide.keys import NO_KEYS

Ints = npt.NDArray[np.int64]
HOUR_MS = 3_600_000
AGES_HOURS = (0, 0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 9, 12, 18, 24, 36, 48, 72, 120, 240, 100_000)
"""Between which the ages of a model are taken together."""

FEWEST = 30
"""Clicks of an age that are worth a point of the curve."""


@dataclass(frozen=True)
class Figures:
    """One policy, with every seed: S of them, of the same N clicks."""

    runners: Sequence[Runner]
    clicks: Clicks
    """In an order that all policies have."""

    users: Ints
    """[N]: numbers that tell users apart."""

    positions: npt.NDArray[np.uint8]
    """[S, N]: where the item stood in the list."""

    order: Ints
    """Of the clicks, as they were scored."""

    @classmethod
    def of(cls, runners: Sequence[Runner]) -> "Figures":
        """Of the runners of one policy."""
        scored = Clicks.all_of(runners[0].board.clicks)
        found = [each.board.positions() for each in runners]
        marked = min(map(len, found))  # fewer than were scored, where it was interrupted just then
        order = scored.take(np.arange(marked)).order()
        clicks = scored.take(order)
        _, users = np.unique(clicks.users, return_inverse=True)
        positions = np.stack([each[order] for each in found])
        return cls(runners, clicks, users, positions, order)

    @property
    def policy(self) -> Policy:
        """Whose they are."""
        return self.runners[0].policy

    @property
    def everything(self) -> Ints:
        """The numbers of all clicks."""
        return np.arange(len(self.users))

    @cached_property
    def hits(self) -> dict[int, Hits]:
        """[S, N] for each k: whether the item was among the first k."""
        return {k: (self.positions < k).astype(np.float32) for k in KS}

    def report(self, *, items: int, stream_hours: int) -> dict[str, Any]:
        """The policy's part of report.json. `items` is the number of items in the data."""
        policy, boards = self.policy, [each.board for each in self.runners]
        marks = [each for board in boards for each in board.marks]
        shown = [len(np.unique(np.concatenate(_shown(each)))) for each in boards]
        return {
            "name": policy.name,
            "kind": policy.kind,
            **self.summary(self.everything),
            "coverage@10": ratio(sum(shown) / len(boards), items),
            "intra_list_distance@10": ratio(
                sum(each.distance_sum for each in marks), sum(each.distances for each in marks)
            ),
            "head_share@10": ratio(
                sum(each.head_places for each in marks), sum(each.places for each in marks)
            ),
            "auc": ratio(
                sum(each.answering.auc_sum for each in marks),
                sum(each.answering.auc_clicks for each in marks),
            ),
            "groups": {
                name: self.summary(np.flatnonzero(inside))
                for name, inside in sorted(self.clicks.groups.items())
            },
            "hours": list(self._hours()),
            "ages": {
                "model": list(self._ages("learnt_ms")),
                "statistics": list(self._ages("refreshed_ms")),
            },
            **self.seeds(),
            **self.costs(stream_hours),
        }

    def summary(self, at: Ints) -> dict[str, Any]:
        """Of the clicks with these numbers."""
        positions = self.positions[:, at]
        found = positions[positions < DEPTH].astype(np.int64)
        return {
            "positives": len(at),
            **self._recall(at, KS),
            **{
                f"precision@{k}": ratio(float(self.hits[k][:, at].sum()), k * positions.size)
                for k in KS
            },
            "mean_position": ratio(int(found.sum()) + len(found), len(found)),
        }

    def _recall(self, at: Ints, ks: Sequence[int]) -> dict[str, Any]:
        shares = {k: share(self.hits[k][:, at], self.users[at]) for k in ks}
        recall = {f"recall@{k}": round(s.value, 6) if s else None for k, s in shares.items()}
        return recall | {f"interval@{k}": s.rounded() if s else None for k, s in shares.items()}

    def _hours(self) -> Iterator[dict[str, Any]]:
        starts = self.clicks.ticks_ms // HOUR_MS * HOUR_MS
        for start_ms in np.unique(starts).tolist():
            at = np.flatnonzero(starts == start_ms)
            yield {
                "start_at": iso(from_unix_ms(start_ms)),
                "positives": len(at),
                **self._recall(at, KS),
            }

    def _ages(self, since: str) -> Iterator[dict[str, Any]]:
        """Recall by how old what answered was; nothing for a list, which has no age of its own."""
        instants = self.runners[0].board.instants(since)[self.order]
        hours = (self.clicks.at_ms - instants) / HOUR_MS
        for low, high in pairwise(AGES_HOURS):
            at = np.flatnonzero((hours >= low) & (hours < high) & (instants > 0))
            if len(at) >= FEWEST:
                yield {
                    "from_hours": low,
                    "to_hours": high,
                    "mean_hours": round(float(hours[at].mean()), 3),
                    "positives": len(at),
                    **self._recall(at, (10, 100)),
                }

    def seeds(self) -> dict[str, Any]:
        """Recall by seed, where there are several."""
        if len(self.runners) == 1:
            return {}
        return {
            "seeds": [
                {"seed": runner.seed, **runner.board.overall.recall()} for runner in self.runners
            ]
        }

    def costs(self, stream_hours: int) -> dict[str, Any]:
        """In the mean of the seeds."""
        many = len(self.runners)
        training = sum(each.costs.seconds["training"] for each in self.runners) / many
        total = sum(each.costs.total() for each in self.runners) / many
        parts = [each.costs.rounded() for each in self.runners]
        names = dict.fromkeys(name for part in parts for name in part)
        return {
            "train_seconds": round(training, 3),
            "cost_seconds": {
                name: round(sum(part.get(name, 0.0) for part in parts) / many, 3) for name in names
            },
            "cost_seconds_per_hour": round(total / max(stream_hours, 1), 4),
            "versions": self.runners[0].versions,
        }


def _shown(board: Scoreboard) -> list[npt.NDArray[np.uint64]]:
    return [NO_KEYS, *(each.shown for each in board.marks)]


def differences(found: Sequence[Figures]) -> Iterator[dict[str, Any]]:
    """Each policy less each after it that scored the same clicks: what of it may be chance."""
    for place, one in enumerate(found):
        for other in found[place + 1 :]:
            if not len(one.users) or len(one.users) != len(other.users):
                continue
            yield {
                "one": one.policy.name,
                "other": other.policy.name,
                **between(one, other),
            }


def between(one: Figures, other: Figures) -> dict[str, Any]:
    """The one less the other, of the same clicks."""
    shares = {k: difference(one.hits[k], other.hits[k], one.users) for k in KS}
    return {f"recall@{k}": round(s.value, 6) for k, s in shares.items() if s} | {
        f"interval@{k}": s.rounded() for k, s in shares.items() if s
    }
