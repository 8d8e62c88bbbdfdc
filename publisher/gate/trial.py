"""One trial: a draft and the versions before it answer the same clicks, and are compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from publisher.build import Draft
from publisher.gate import floors, power
from publisher.gate.difference import Bools, Difference, difference
from publisher.gate.exposure import LEAST_USERS, PLACES, Crowd, coverage, crowding, shown
from publisher.gate.finding import Finding
from publisher.gate.recall import can_be_asked, found, lists
from publisher.gate.strangers import another_of_each, known_to
from publisher.reader import LoadedVersion
from publisher.witnesses import is_named, witnesses
from twintide.config import GateConfig
from twintide.keys import Keys, among, distinct
from twintide.slices import ITEM_KEY, USER_KEY
from twintide.versions import GateReport


@dataclass(frozen=True)
class Rivals:
    """What a draft is held against."""

    live: LoadedVersion | None = None
    best: LoadedVersion | None = None
    """The best of those that were live before."""

    reports: Sequence[GateReport] = ()
    """What the gate said of these and others that were live before, oldest first."""


@dataclass(frozen=True)
class Trial:
    """Lists of all on the same clicks; uint64 [clicks, k]."""

    clicks: pa.Table
    draft: Keys
    live: Keys | None
    """None where there is none, or it cannot be asked."""

    best: Keys | None
    on: str
    """Such as: 400 clicks that neither has learnt."""

    @property
    def users(self) -> Keys:
        """[clicks]: who clicked."""
        users: Keys = self.clicks[USER_KEY].to_numpy()
        return users

    @property
    def items(self) -> Keys:
        """[clicks]: what was clicked."""
        items: Keys = self.clicks[ITEM_KEY].to_numpy()
        return items

    def of(self, some: Bools) -> "Trial":
        """The draft's lists on some of the clicks [clicks]."""
        clicks = self.clicks.filter(pa.array(some))
        on = f"{len(clicks)} of {self.on}, of users that it knows"
        return Trial(clicks, self.draft[some], None, None, on)

    def against(self, other: Keys) -> Difference:
        """The draft beside the lists of another."""
        return difference(found(self.draft, self.items), found(other, self.items), self.users)

    def is_better_than_live(self) -> bool:
        """Whether the draft finds more, by no chance."""
        if self.live is None:
            return False
        own, live = found(self.draft, self.items), found(self.live, self.items)
        beside = difference(live, own, self.users)
        return own.mean() > live.mean() and beside.chance <= power.MAY_BE_CHANCE


def tried(draft: Draft, rivals: Rivals, clicks: pa.Table, *, k: int, on: str) -> Trial:
    """All answer that can be asked."""

    def of(other: LoadedVersion | None) -> Keys | None:
        if other is None or not can_be_asked(other.manifest.model, draft.checkpoint.model):
            return None
        return lists(other, clicks, k=k)

    own = lists(draft, clicks, k=k)
    return Trial(clicks, own, of(rivals.live), of(rivals.best), on=f"{len(clicks)} {on}")


def recall_found(trial: Trial, rivals: Rivals, config: GateConfig) -> Finding:
    """Recall beside that of the live version and of the best before it."""
    own = found(trial.draft, trial.items)
    figures: dict[str, object] = {"events": len(own), "k": config.k, "recall": float(own.mean())}
    reasons = []
    if rivals.live and trial.live is not None:
        beside = trial.against(trial.live)
        figures |= {"live_recall": beside.other, "live": rivals.live.name}
        figures |= {"change_low": beside.low, "change_high": beside.high}
        reasons += fallen(beside, trial, rivals.live.name, config)
    if rivals.best and trial.best is not None:
        beside = trial.against(trial.best)
        figures |= {"best": rivals.best.name, "best_recall": beside.other}
        reasons += fallen(beside, trial, rivals.best.name, config) if not reasons else []
    notes = []
    if rivals.live and trial.live is None:
        notes.append(f"recall was not compared: {rivals.live.name} reads other features")
    return Finding(reasons, notes, figures)


def fallen(beside: Difference, trial: Trial, name: str, config: GateConfig) -> list[str]:
    """Why recall has fallen too far below that of `name`: more than allowed, and by no chance."""
    least = beside.other * (1 - config.max_recall_drop_ratio)
    if beside.draft >= least or beside.chance > power.MAY_BE_CHANCE:
        return []
    falls = f"recall@{config.k} falls from {beside.other:.4f} ({name}) to {beside.draft:.4f}"
    return [f"{falls} on {trial.on}; {least:.4f} is the least allowed"]


def floors_found(trial: Trial, draft: Draft, before: pa.Table, config: GateConfig) -> Finding:
    """Recall beside chance and beside a plain list of what was clicked `before`."""
    least = _floors(trial, draft, before, config)
    own = found(trial.draft[:, : least.places], trial.items)
    figures = {
        "floor_places": least.places,
        "chance_recall": least.chance,
        "list_recall": least.listed,
        "floor_recall": float(own.mean()),
    }
    said = floors.against_floors(own, trial.users, least, config, on=trial.on)
    return Finding(said.reasons, said.notes, figures)


def alike_found(trial: Trial, draft: Draft, before: pa.Table, config: GateConfig) -> Finding:
    """Whether it tells users apart that it knows: to strangers any model says one thing."""
    known = trial.of(known_to(draft, trial.clicks))
    if len(known.clicks) < config.min_events:
        clicks = f"{len(known.clicks)} clicks of known users"
        return Finding(notes=[f"not asked whether it tells users apart: {clicks}"])
    least = _floors(known, draft, before, config)
    answers = known.draft[:, : least.places]
    own = found(answers, known.items)
    control = found(answers[another_of_each(known.users)], known.items)
    said = floors.against_others_answers(own, control, known.users, least, config, on=known.on)
    return Finding(said.reasons, figures={"others_recall": float(control.mean())})


def _floors(trial: Trial, draft: Draft, before: pa.Table, config: GateConfig) -> floors.Floors:
    places = floors.places_of(config.k, draft.index.items)
    listed = None
    if len(before):
        users, items = before[USER_KEY].to_numpy(), before[ITEM_KEY].to_numpy()
        plain = floors.most_clicked(users, items, places=places)
        listed = float(np.isin(trial.items, plain).mean())
    known = draft.item_keys[among(draft.item_keys, distinct(trial.items))]
    reach = float(among(trial.items, np.sort(known)).mean())
    return floors.Floors(places, min(1.0, places / draft.index.items) * reach, listed, reach)


def exposure_found(
    trial: Trial, draft: Draft, rivals: Rivals, before: pa.Table, config: GateConfig
) -> Finding:
    """Who is shown what: each user asked once, of those whom the live version remembers where it
    remembers any. Accounts that were made since neither count nor speak for what they clicked.
    """
    is_known = _known(trial.users, rivals.live)
    _, of_each = np.unique(trial.users[is_known][::-1], return_index=True)
    asked = np.flatnonzero(is_known)[::-1][of_each]
    if len(asked) < LEAST_USERS:
        return Finding(notes=[f"what is shown was not judged: {len(asked)} users are too few"])
    own = trial.draft[asked]
    first, places = (Crowd.of(own, count) for count in (1, PLACES))
    seen = {
        "top_share": first.share,
        "top_ten_share": places.share,
        "coverage": shown(own) / draft.index.items,
    }
    if trial.live is None:
        return Finding(figures=seen)
    live, heard = trial.live[asked], witnesses(before, limit=len(before))
    known_before = _known(heard[USER_KEY].to_numpy(), rivals.live)
    clicked = (trial.items[is_known], heard[ITEM_KEY].to_numpy()[known_before])
    said = [coverage(shown(own), shown(live), config)]
    for crowd, name in ((first, "top_share"), (places, "top_ten_share")):
        shares = (getattr(each, name) for each in rivals.reports)
        usual = [share for share in shares if share is not None]
        usual.append(Crowd.of(live, crowd.places).share)
        named = _named(draft, crowd)
        items = draft.index.items
        said.append(crowding(crowd, usual, clicked, named=named, items=items, config=config))
    return Finding([reason for each in said for reason in each.reasons], figures=seen)


def _known(users: Keys, live: LoadedVersion | None) -> Bools:
    """[N]: which of these the live version remembers; all that are named where these are few."""
    everybody = is_named(users)
    memories = list(live.memories.values()) if live else []
    for memory in memories[:1]:
        is_known: Bools = memory.knows(users)
        return is_known if np.unique(users[is_known]).size >= LEAST_USERS else everybody
    return everybody


def _named(draft: Draft, crowd: Crowd) -> str:
    """The id of its most frequent item, as its producer gave it."""
    places = np.flatnonzero(np.isin(draft.item_keys, crowd.items[:1]))
    return str(draft.items.ids[int(places[0])].as_py()) if len(places) else "?"
