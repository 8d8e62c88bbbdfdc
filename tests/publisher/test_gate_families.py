"""Families of bad candidates, none of which may pass, and good ones, of which nearly all must."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from publisher import gate
from publisher.build import Draft
from publisher.index.faiss.index import build
from publisher.index.searched import ItemIndex
from publisher.judging import evidence_on
from tests.publisher.gate_world import (
    USERS,
    Learnt,
    Stream,
    World,
    as_it_is,
    events_of,
    first_hours,
    flipped,
    flood,
    in_place_of,
    of_others,
    with_arrays,
)
from twintide.model.two_tower import TwoTower
from twintide.ragged import take
from twintide.slices import USER_KEY
from twintide.versions import GateReport

SEEDS = (1, 2, 3)
Change = Callable[[Any], Any]


@dataclass
class Noon:
    """The world of one seed at noon, and other streams of the same hours, each made when asked."""

    folder: Path
    seed: int
    events: pa.Table
    world: World
    good: Learnt
    learnt: dict[str, tuple[World, Learnt]] = field(default_factory=dict)

    @classmethod
    def made(cls, folder: Path, seed: int) -> "Noon":
        events = events_of(seed)
        world = World.made(folder / "plain", events)
        return cls(folder, seed, events, world, world.candidate())

    def of(self, name: str, stream: Stream, **how: Any) -> tuple[World, Learnt]:
        """The world of another stream, and what it has learnt by noon."""
        if name not in self.learnt:
            world = World.made(self.folder / name, self.events, stream, **how)
            self.learnt[name] = world, world.candidate()
        return self.learnt[name]

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    @property
    def item(self) -> int:
        """One that hardly anybody clicks."""
        items, counts = np.unique(np.asarray(self.events["item_id"]), return_counts=True)
        return int(items[counts > 5][-1])

    def judged(self, checkpoint: Learnt) -> GateReport:
        return self.world.judged(self.world.draft(checkpoint))

    def changed(self, **arrays: Change) -> GateReport:
        """The good candidate with arrays changed, judged."""
        return self.judged(with_arrays(self.good, **arrays))

    def redrafted(self, change: Callable[[Draft], Draft]) -> GateReport:
        """The good candidate with parts of its version changed, judged."""
        return self.world.judged(change(self.world.draft(self.good)))

    def taught(self, name: str, stream: Stream) -> GateReport:
        """What another stream has taught, on the clicks of this world."""
        return self.judged(in_place_of(self.good, self.of(name, stream)[1]))

    def flooded(self, name: str, **how: Any) -> GateReport:
        """What a flood has taught, on the clicks of the flood."""
        hours = how.pop("hours", (10,))
        world, candidate = self.of(name, partial(flood, **how), hours=hours)
        return world.judged(world.draft(candidate))


def poisoned(value: float) -> Change:
    def change(weights: Any) -> Any:
        weights[3:6] = value
        return weights

    return change


def zeroed(weights: Any) -> Any:
    return weights * 0


def negated(weights: Any) -> Any:
    return -weights


def shuffled(noon: Noon) -> Change:
    def change(rows: Any) -> Any:
        rows[1:] = rows[1:][noon.rng.permutation(len(rows) - 1)]
        return rows

    return change


def noisy(noon: Noon, size: float) -> Change:
    def change(weights: Any) -> Any:
        noise = noon.rng.normal(scale=size * weights.std(), size=weights.shape)
        return weights + noise.astype(weights.dtype)

    return change


def forgetting(noon: Noon, share: float) -> Change:
    """A share of the rows are zero; the larger share holds the smaller one's rows."""

    def change(weights: Any) -> Any:
        weights[noon.rng.permutation(len(weights))[: round(share * len(weights))]] = 0
        return weights

    return change


def untrained(noon: Noon, good: Learnt) -> Learnt:
    """A model that knows the ids and has learnt nothing."""
    own = good.checkpoint
    device = torch.device("cpu")
    model = TwoTower.untrained(own.manifest.model, seed=100 + noon.seed, device=device)
    for name, table in model.tables.items():
        table.grow(own.arrays[f"table.{name}.keys"][1:].astype(np.uint64))
    return replace(good, checkpoint=replace(own, arrays=dict(own.arrays) | model.arrays()))


def tower_of_another(noon: Noon, side: str) -> GateReport:
    """A tower of another training of the same days, with the tables of this one."""
    _, other = noon.of("others", of_others)
    names = [name for name in other.checkpoint.arrays if name.startswith(f"dense.{side}.")]
    of_other = {
        name.replace(".", "__"): lambda _, name=name: other.checkpoint.arrays[name]
        for name in names
    }
    return noon.changed(**of_other)


def reindexed(draft: Draft, vectors: Any, *, told: Any = None) -> Draft:
    """With an index of these vectors; the draft says that they are others where it is told so."""
    index: ItemIndex = build(vectors, kind="flat", nprobe=1)
    indexed = replace(draft.indexed, index=index, vectors=vectors if told is None else told)
    return replace(draft, indexed=indexed)


def in_other_order(draft: Draft) -> Draft:
    order = np.arange(len(draft.item_keys))[::-1]
    items = replace(draft.items, keys=draft.items.keys[order], ids=draft.items.ids.take(order))
    return replace(draft, items=items)


def halved(draft: Draft) -> Draft:
    """Of the items that were clicked first, half; the index is of these."""
    some = np.arange(len(draft.item_keys) // 2)
    items = replace(
        draft.items,
        ids=draft.items.ids.take(some),
        keys=draft.items.keys[some],
        encoded=take(draft.items.encoded, some),
        clicked=len(some),
    )
    vectors = draft.vectors[some]
    whole = reindexed(replace(draft, items=items), vectors)
    return replace(whole, catalogue_items=len(some))


def older(noon: Noon) -> GateReport:
    return noon.judged(noon.world.learnt("nightly-000001"))


def stale(noon: Noon) -> GateReport:
    """What three hours of yesterday have taught, said to be as new as the good one."""
    world = World.made(noon.folder / "stale", noon.events, first_hours, hours=())
    return noon.judged(in_place_of(noon.good, world.learnt("nightly-000001")))


def lossy_index(noon: Noon) -> GateReport:
    return noon.world.judged(noon.world.draft(noon.good, index="ivf", nprobe=1))


def untrained_second(noon: Noon) -> GateReport:
    """After an untrained first one, for which an operator answered."""
    world, good = noon.of("untrained", as_it_is)
    bad = untrained(noon, good)
    world.put_live(world.draft(bad), GateReport(passed=True, overruled=True))
    return world.judged(world.draft(with_arrays(bad, table__item__weights=noisy(noon, 0.01))))


def ratchet(noon: Noon, loss: float) -> GateReport:
    """Each version forgets a share of what is left. The one that is refused; what is live then has
    not lost much more than a single version may.
    """
    world, good = noon.of(f"ratchet-{loss}", as_it_is)
    first = world.promoted(world.draft(good)).recall or 0.0
    live, left = first, 1.0
    for _ in range(24):
        left *= 1 - loss
        worse = with_arrays(good, table__item__weights=forgetting(noon, 1 - left))
        report = world.promoted(world.draft(worse))
        if not report.passed:
            assert live > 0.7 * first, (live, first)
            return report
        live = report.recall or 0.0
    return report


FAMILIES: dict[str, Callable[[Noon], GateReport]] = {
    "item rows that are no numbers": lambda noon: noon.changed(
        table__item__weights=poisoned(np.nan)
    ),
    "infinite user rows": lambda noon: noon.changed(table__user__weights=poisoned(np.inf)),
    "a tower that is no number": lambda noon: noon.changed(
        dense__candidate__0__weight=poisoned(np.nan)
    ),
    "item table zeroed": lambda noon: noon.changed(table__item__weights=zeroed),
    "user table zeroed": lambda noon: noon.changed(table__user__weights=zeroed),
    "item rows shuffled": lambda noon: noon.changed(table__item__weights=shuffled(noon)),
    "user rows shuffled": lambda noon: noon.changed(table__user__weights=shuffled(noon)),
    "item keys shuffled": lambda noon: noon.changed(table__item__keys=shuffled(noon)),
    "query tower turned round": lambda noon: noon.changed(
        dense__query__2__weight=negated, dense__query__2__bias=negated
    ),
    "one answer for everybody": lambda noon: noon.changed(dense__query__2__weight=zeroed),
    "query tower of another training": lambda noon: tower_of_another(noon, "query"),
    "candidate tower of another training": lambda noon: tower_of_another(noon, "candidate"),
    "index of another checkpoint": lambda noon: noon.redrafted(
        lambda draft: reindexed(draft, draft.vectors[::-1].copy(), told=draft.vectors)
    ),
    "index of half the items": lambda noon: noon.redrafted(
        lambda draft: reindexed(draft, draft.vectors[::2].copy(), told=draft.vectors)
    ),
    "item ids in another order": lambda noon: noon.redrafted(in_other_order),
    "half the catalogue": lambda noon: noon.redrafted(halved),
    "half the item rows zeroed": lambda noon: noon.changed(
        table__item__weights=forgetting(noon, 0.5)
    ),
    "older than what is live": older,
    "stale, and said to be new": stale,
    "labels flipped": lambda noon: noon.taught("flipped", flipped),
    "clicks of others": lambda noon: noon.taught("others", of_others),
    "noise": lambda noon: noon.changed(table__item__weights=noisy(noon, 4)),
    "diverged": lambda noon: noon.changed(
        table__item__weights=noisy(noon, 30), table__user__weights=noisy(noon, 30)
    ),
    "an index that misses much": lossy_index,
    "untrained, the first version": lambda noon: noon.world.judged_first(
        noon.world.draft(untrained(noon, noon.good))
    ),
    "untrained after an untrained one": untrained_second,
    "losing 20 % a version": lambda noon: ratchet(noon, 0.2),
    "losing 10 % a version": lambda noon: ratchet(noon, 0.1),
    "losing 5 % a version": lambda noon: ratchet(noon, 0.05),
    "a bomb by one user": lambda noon: noon.flooded(
        "one", share=2.0, users=np.array([7]), items=noon.item
    ),
    "a bomb by new accounts": lambda noon: noon.flooded(
        "new", share=0.5, users=np.arange(10**6, 10**6 + 3_000), items=noon.item
    ),
    "a bomb by all users": lambda noon: noon.flooded(
        "all", share=0.3, users=np.arange(USERS), items=noon.item
    ),
    "a bomb on ten items": lambda noon: noon.flooded(
        "ten", share=0.6, users=np.arange(USERS), items=np.arange(10) + 700
    ),
    "a bomb that grows over a day": lambda noon: noon.flooded(
        "grows",
        share=1.0,
        users=np.arange(USERS),
        items=noon.item,
        since_hour=0.0,
        growing=True,
        hours=(2, 4, 6, 8, 10),
    ),
}


def resampled(clicks: pa.Table, rng: np.random.Generator) -> pa.Table:
    """The clicks of half of the users."""
    users = clicks[USER_KEY].to_numpy()
    some = rng.choice(np.unique(users), len(np.unique(users)) // 2, replace=False)
    return clicks.filter(pa.array(np.isin(users, some)))


@pytest.fixture(scope="module", params=SEEDS, ids=lambda seed: f"seed {seed}")
def noon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Noon:
    return Noon.made(tmp_path_factory.mktemp(f"noon-{request.param}"), request.param)


@pytest.mark.long
@pytest.mark.timeout(600)  # whoever comes first lets a line learn
@pytest.mark.promise("P7")
@pytest.mark.parametrize("family", FAMILIES)
def test_no_family_of_bad_candidates_passes(noon: Noon, family: str) -> None:
    """Broken, stale, of other labels, slowly worse, or bombed, the judged clicks included."""
    report = FAMILIES[family](noon)

    assert not report.passed, report


@pytest.mark.long
@pytest.mark.timeout(600)  # whoever comes first lets a line learn
@pytest.mark.promise("P7")
def test_good_candidates_pass(noon: Noon) -> None:
    """Of a hundred on three seeds at most one is refused: what the hour has taught, the live
    version once more, and either with rows moved a little, on the clicks of some users.
    """
    world, config = noon.world, noon.world.deployment.publishing.gate
    live = world.learnt("hourly-000002")
    refused = []
    for number in range(34):
        size = (0.0, 0.05, 0.1)[number % 3]
        checkpoint = (noon.good, live)[number % 2]
        drawn = replace(noon, seed=number)
        draft = world.draft(with_arrays(checkpoint, table__item__weights=noisy(drawn, size)))
        rivals = world.rivals(draft)
        evidence = evidence_on(world.deployment, draft.checkpoint, rivals)
        some = replace(evidence, unlearnt=resampled(evidence.unlearnt, drawn.rng))
        report = gate.judge(draft, rivals, some, config)
        refused += [report] if not report.passed else []

    assert len(refused) <= (noon.seed == SEEDS[0]), refused
