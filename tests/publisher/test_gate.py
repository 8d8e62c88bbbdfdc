from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from publisher import gate
from publisher.build import Draft, draft_of
from publisher.gate.kinship import estranged
from publisher.gate.recall import lists
from publisher.judging import evidence_on
from publisher.publish import publish
from publisher.reader import LoadedVersion, load_version
from publisher.unlearnt import KEYS, NOTHING, Evidence, newest_clicks
from tests.publisher import checkpoint_fixture as made
from tests.publisher.checkpoint_fixture import NOON
from twintide.clock import HeldClock
from twintide.config import Deployment, GateConfig
from twintide.features.columns import from_columns
from twintide.keys import keys_of
from twintide.model.two_tower import TwoTower
from twintide.modelspec import TableSpec
from twintide.ragged import one_id_each
from twintide.slices import ITEM_KEY, UNIT, USER_KEY
from twintide.versions import GateReport

ITEMS = made.item_range(1000, 300)
CONFIG = GateConfig(k=20)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    deployment = made.deployment_at(tmp_path_factory.mktemp("gate") / "data")
    made.add_checkpoint(deployment, 1)
    publish(deployment, clock=made.held_clock())
    return deployment


@pytest.fixture(scope="module")
def live(deployment: Deployment) -> LoadedVersion:
    return load_version(deployment.versions_dir, "v000001")


@pytest.fixture(scope="module")
def clicks(live: LoadedVersion, deployment: Deployment) -> pa.Table:
    return made.clicks_liked_by(live, deployment, 1_000)


Drafted = Callable[..., Draft]


def judged(
    draft: Draft,
    live: LoadedVersion | None = None,
    clicks: pa.Table = NOTHING,
    *,
    config: GateConfig = CONFIG,
    rewound_to: str | None = None,
) -> GateReport:
    """What the gate says where these clicks are all that there are."""
    evidence = Evidence(clicks, minutes=10)
    return gate.judge(draft, gate.Rivals(live), evidence, config, rewound_to=rewound_to)


@pytest.fixture(scope="module")
def drafted(deployment: Deployment) -> Drafted:
    """Drafts of checkpoints with what `add_checkpoint` takes; each under the next number."""
    numbers = iter(range(2, 1_000))

    def draft(**changes: object) -> Draft:
        manifest = made.add_checkpoint(deployment, next(numbers), **changes)  # type: ignore[arg-type]
        folder = deployment.checkpoints_dir / manifest.name
        return draft_of(folder, deployment.publishing, vectors_dir=deployment.vectors_dir)

    return draft


def changed_model(deployment: Deployment, change: Callable[[TwoTower], None]) -> TwoTower:
    model = made.model_of(deployment, ITEMS)
    change(model)
    return model


def poison_rows(model: TwoTower) -> None:
    model.tables["item"].weights[5:8] = float("nan")


def poison_user(model: TwoTower) -> None:
    model.tables["user"].weights[3] = float("inf")


def zero_items(model: TwoTower) -> None:
    model.tables["item"].weights[:] = 0


def zero_users(model: TwoTower) -> None:
    model.tables["user"].weights[:] = 0


def collapse(model: TwoTower) -> None:
    model.towers.get_parameter("candidate.2.weight").data[:] = 0


def answer_all_alike(model: TwoTower) -> None:
    model.towers.get_parameter("query.2.weight").data[:] = 0
    model.towers.get_parameter("query.2.bias").data[:] = 1


def poison_tower(model: TwoTower) -> None:
    model.towers.get_parameter("candidate.0.weight").data[0, 0] = float("nan")


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (poison_rows, "table item has 3 rows that are not finite, first 5"),
        (poison_user, "table user has 1 rows that are not finite, first 3"),
        (zero_items, "every row of table item is the same"),
        (zero_users, "every row of table user is the same"),
        (collapse, "all item vectors point the same way"),
        (poison_tower, "item vectors are not finite"),
    ],
)
def test_a_broken_model_is_blocked_without_any_click(
    deployment: Deployment, drafted: Drafted, change: Callable[[TwoTower], None], reason: str
) -> None:
    """The first version too, which nothing can be compared with."""
    report = judged(drafted(model=changed_model(deployment, change)))

    assert not report.passed
    assert any(reason in found for found in report.reasons), report.reasons


@pytest.mark.promise("P7")
def test_items_without_vectors_of_their_own_are_blocked(drafted: Drafted) -> None:
    """Where most items have the same vector as another one, nothing can be told apart."""
    draft = drafted()
    vectors = draft.vectors.copy()
    vectors[100:] = vectors[np.arange(200) % 3]

    reasons = gate.mechanics(replace(draft, indexed=replace(draft.indexed, vectors=vectors)))

    assert reasons == ["the 300 items have only 100 different vectors"]


@pytest.mark.promise("P7")
def test_parts_that_do_not_belong_together_are_blocked(drafted: Drafted) -> None:
    """The index of another checkpoint, an index of half the items, item ids in another order."""
    good, moved, half = drafted(), drafted(noise=0.002), drafted(items=ITEMS[:150])
    shuffled = np.random.default_rng(1).permutation(300)
    cases = {
        "index scores differ": replace(good, indexed=replace(good.indexed, index=moved.index)),
        "the index has 150 items": replace(good, indexed=replace(good.indexed, index=half.index)),
        "item ids are not those": replace(
            good,
            items=replace(
                good.items,
                keys=good.items.keys[shuffled],
                ids=good.items.ids.take(shuffled),
            ),
        ),
        "150 items of the catalogue have no row in table item": replace(good, model=half.model),
    }

    for reason, draft in cases.items():
        (found,) = gate.mechanics(draft)
        assert reason in found


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"items": ITEMS[:179]},
            "it has 179 items, the live version 300; 180 is the least allowed",
        ),
        ({"newest_event_at": NOON - timedelta(seconds=1)}, "its newest click is of"),
        ({"seed": 9}, "recall@20 falls from"),
        ({"noise": 0.5}, "recall@20 falls from"),
    ],
)
def test_a_step_back_from_the_live_version_is_blocked(
    drafted: Drafted, live: LoadedVersion, clicks: pa.Table, changes: dict[str, object], reason: str
) -> None:
    """Half the items gone, older clicks than the live one's, an untrained tower, noise."""
    report = judged(drafted(**changes), live, clicks)

    assert not report.passed
    assert any(reason in found for found in report.reasons), report.reasons


@pytest.mark.promise("P7")
def test_far_fewer_items_are_meant_where_items_are_forgotten_by_another_rule(
    drafted: Drafted, live: LoadedVersion, clicks: pa.Table
) -> None:
    """The note says how many there are and why; under the rule of the live version it is no loss
    that was meant.
    """
    draft = drafted(items=ITEMS[:179])
    spec = draft.checkpoint.model
    state = spec.state.model_copy(update={"forget_items_after_days": 9})
    rule = {"model": spec.model_copy(update={"state": state})}
    forgets = replace(draft, checkpoint=draft.checkpoint.model_copy(update=rule))
    same = replace(live, manifest=live.manifest.model_copy(update=rule))

    meant, loss = (judged(forgets, before, clicks) for before in (live, same))

    note = "it has 179 items, the live version 300: items are forgotten after 9 days now"
    assert note in meant.notes
    assert "it has 179 items, the live version 300; 180 is the least allowed" in loss.reasons


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    ("rule", "reasons"),
    [
        (TableSpec(), ["150 items of the catalogue have no row in table item"]),
        (TableSpec(max_rows=200), ["150 items of the catalogue have no row in table item"]),
        (TableSpec(max_rows=150), []),
        (TableSpec(admit_after=3), []),
        (TableSpec(evict_after_days=30), []),
    ],
    ids=["none", "not full", "full", "admission", "eviction"],
)
def test_items_lack_a_row_only_where_the_rule_of_the_table_lets_them(
    drafted: Drafted, deployment: Deployment, rule: TableSpec, reasons: list[str]
) -> None:
    """Those that wait to be admitted, were evicted or found the table full are the default row in
    serving too; without such a rule something was lost.
    """
    draft = drafted(model=made.model_of(deployment, ITEMS[:150]))
    spec = deployment.model.model_copy(update={"tables": {"item": rule}})
    bounded = replace(draft, checkpoint=draft.checkpoint.model_copy(update={"model": spec}))

    assert gate.mechanics(bounded) == reasons


@pytest.mark.promise("P7")
def test_a_table_that_knows_no_item_is_blocked_whatever_its_rule(
    drafted: Drafted, deployment: Deployment
) -> None:
    """Nothing can be told apart by it."""
    draft = drafted(model=made.model_of(deployment, ITEMS + 5_000))
    spec = deployment.model.model_copy(update={"tables": {"item": TableSpec(admit_after=3)}})
    bounded = replace(draft, checkpoint=draft.checkpoint.model_copy(update={"model": spec}))

    assert not judged(bounded).passed


@pytest.mark.promise("P7")
def test_of_a_rewind_items_and_freshness_are_given_up_and_nothing_else(
    drafted: Drafted, live: LoadedVersion, clicks: pa.Table
) -> None:
    """What going back takes along is said and lets the version pass; a tower that finds nothing
    does not, whoever went back.
    """
    earlier = drafted(items=ITEMS[:140], newest_event_at=NOON - timedelta(hours=1))
    forgetful = drafted(seed=2, newest_event_at=NOON - timedelta(hours=1))

    meant = judged(earlier, live, rewound_to="nightly-000001")
    worse = judged(forgetful, live, clicks, rewound_to="nightly-000001")

    assert meant.passed, meant.reasons
    assert [each for each in meant.notes if each.endswith("training was rewound to nightly-000001")]
    assert "it has 140 items, the live version 300" in meant.notes[0]
    assert not worse.passed
    assert "recall@20 falls" in worse.reasons[0]


@pytest.mark.promise("P7")
@pytest.mark.parametrize(("items", "unknown"), [(1, 40), (300, 320)], ids=["one item", "many"])
def test_a_version_is_not_held_against_clicks_on_items_that_it_cannot_know(
    deployment: Deployment, drafted: Drafted, items: int, unknown: int
) -> None:
    """Of what is there it finds all, of what came since nothing: chance finds no more."""
    draft = drafted(items=ITEMS[:items])
    encoded = made.queries_of(deployment, 400)
    best = lists(draft, made.click_table(deployment, encoded, np.ones(400, np.uint64)), k=1)[:, 0]
    best[:unknown] = np.arange(unknown) + 1

    report = judged(draft, clicks=made.click_table(deployment, encoded, best))

    assert report.passed, report.reasons
    assert report.chance_recall == pytest.approx((1 if items == 1 else 0.02) * (1 - unknown / 400))


def test_clicks_that_name_no_user_are_of_as_many_users(
    tmp_path: Path, drafted: Drafted, live: LoadedVersion, clicks: pa.Table
) -> None:
    """They are not ten clicks of one, on which nothing could be judged. Whom they were shown to is
    not known.
    """
    own = made.deployment_at(tmp_path)
    nobody = pa.array(np.zeros(300, np.uint64))
    named = clicks.slice(0, 300)
    made.add_slice(own, 1, named.set_column(0, named.schema.field(0), nobody), first=0)

    evidence = newest_clicks(made.slices_of(own), own={}, others=[], specs=[own.model], limit=1_000)
    report = gate.judge(drafted(), gate.Rivals(live), evidence, CONFIG)

    assert clicks.column_names[0] == USER_KEY
    assert report.events == 300
    assert "what is shown was not judged: 0 users are too few" in report.notes


HISTORY = {"kind": "decayed_history", "name": "history", "table": "item", "length": 5}


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    "query",
    [lambda query: query[:3] + query[4:], lambda query: [query[0], HISTORY, *query[2:]]],
    ids=["a feature less", "another of the same name"],
)
def test_a_version_is_judged_where_the_live_one_reads_other_features(
    tmp_path: Path, live: LoadedVersion, query: Callable[[list[object]], list[object]]
) -> None:
    """Beside chance and the list, and by what is shown; only the two are not compared."""
    plain = made.configuration(tmp_path)["model"]
    changed = made.deployment_at(tmp_path, model=plain | {"query": query(plain["query"])})
    draft = draft_of(
        changed.checkpoints_dir / made.add_checkpoint(changed, 2, position=500).name,
        changed.publishing,
        vectors_dir=changed.vectors_dir,
    )
    users = keys_of(pa.array(np.arange(400) % made.USERS))
    feature, encoded = changed.model.query[1], made.queries_of(changed, 400)
    encoded["user"] = one_id_each(users)
    encoded["history"] = feature.of_histories(made.histories_of(ITEMS).of(users, length=5))
    clicked = lists(draft, made.click_table(changed, encoded, np.ones(400, np.uint64)), k=1)
    made.add_slice(changed, 1, made.click_table(changed, encoded, clicked[:, 0]), first=500)
    rivals = gate.Rivals(live, live)

    report = gate.judge(draft, rivals, evidence_on(changed, draft.checkpoint, rivals), CONFIG)

    assert report.passed, report.reasons
    assert (report.events, report.recall, report.live_recall) == (400, 1.0, None)
    assert report.floor_recall is not None
    assert "recall was not compared: v000001 reads other features" in report.notes
    assert not report.decided


@pytest.mark.promise("P7")
@pytest.mark.parametrize("position", [500, 900], ids=["unlearnt clicks", "its own clicks alone"])
def test_an_untrained_version_is_refused_though_the_live_one_reads_a_feature_more(
    tmp_path: Path, live: LoadedVersion, position: int
) -> None:
    """Nothing can be compared then, and there may be no click that it has not learnt itself."""
    plain = made.configuration(tmp_path)["model"]
    changed = made.deployment_at(tmp_path, model=plain | {"query": plain["query"][:3]})
    trained, untrained = (
        draft_of(
            changed.checkpoints_dir
            / made.add_checkpoint(changed, number, position=learnt, seed=seed).name,
            changed.publishing,
            vectors_dir=changed.vectors_dir,
        )
        for number, learnt, seed in ((2, 500, 1), (3, position, 9))
    )
    encoded = made.queries_of(changed, 400)
    clicked = lists(trained, made.click_table(changed, encoded, np.ones(400, np.uint64)), k=1)
    made.add_slice(changed, 1, made.click_table(changed, encoded, clicked[:, 0]), first=500)
    rivals = gate.Rivals(live, live)

    report, of_trained = (
        gate.judge(each, rivals, evidence_on(changed, each.checkpoint, rivals), CONFIG)
        for each in (untrained, trained)
    )

    assert of_trained.passed, of_trained.reasons
    assert not report.passed
    assert not report.decided
    assert report.live_recall is None


@pytest.mark.parametrize(("width", "later"), [(1, 1), (16, 8)], ids=["one number", "other width"])
def test_rows_that_cannot_be_told_apart_are_not_held_against_a_version(
    tmp_path: Path, width: int, later: int
) -> None:
    """Rows of one number point one of two ways; beside those of another width they say nothing."""
    before, now = (
        made.deployment_at(tmp_path, model=plain | {"tables": {"user": {"width": each}}})
        for plain in [made.configuration(tmp_path)["model"]]
        for each in (width, later)
    )
    made.add_checkpoint(before, 1)
    publish(before, clock=made.held_clock())
    live = load_version(before.versions_dir, "v000001")
    manifest = made.add_checkpoint(now, 2, parent="hourly-000001", noise=0.0005)
    folder = now.checkpoints_dir / manifest.name
    draft = draft_of(folder, now.publishing, vectors_dir=now.vectors_dir)

    assert estranged(draft, live) == []


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    ("first_user", "reasons", "note"),
    [
        (0, 1, "recall was not compared"),
        (10**6, 0, "not asked whether it tells users apart: 0 clicks of known users"),
    ],
    ids=["known users", "strangers"],
)
def test_one_list_for_all_is_blocked_where_users_are_known(
    deployment: Deployment, drafted: Drafted, first_user: int, reasons: int, note: str
) -> None:
    """To strangers any model gives one list: where most users are new, none would pass."""
    draft = drafted(model=changed_model(deployment, answer_all_alike))
    users = keys_of(pa.array(first_user + np.arange(400) % made.USERS))
    encoded = made.queries_of(deployment, 400) | {
        "user": one_id_each(users),
        "history": made.histories_of(ITEMS).of(users, length=5),
    }
    best = lists(draft, made.click_table(deployment, encoded, users), k=6)[0]
    clicks = made.click_table(deployment, encoded, np.resize(best, 400))
    before = pa.array([NOON - timedelta(minutes=30)] * 400, pa.timestamp("ms", tz="UTC"))
    around = clicks.set_column(clicks.column_names.index(UNIT), UNIT, before).select(KEYS)

    report = gate.judge(draft, gate.Rivals(), Evidence(clicks, around=around), CONFIG)

    assert len([each for each in report.reasons if "tells nobody apart" in each]) == reasons
    assert len(report.reasons) == reasons
    assert any(each.startswith(note) for each in report.notes), report.notes


@pytest.mark.long
@pytest.mark.promise("P7")
def test_good_drafts_pass(drafted: Drafted, live: LoadedVersion, deployment: Deployment) -> None:
    """At most 1 of 50 equal or slightly different ones is blocked, each on clicks of its own."""
    drafts = [drafted(), *(drafted(noise=n / 1e4) for n in range(1, 5))]
    reports = [
        judged(drafts[seed % len(drafts)], live, clicks)
        for seed in range(50)
        for clicks in [made.clicks_liked_by(live, deployment, 300, share=0.3, seed=seed)]
    ]

    assert sum(not report.passed for report in reports) <= 1
    assert [judged(draft, live).reasons for draft in drafts] == [()] * len(drafts)


def test_recall_is_that_of_a_plain_loop(
    drafted: Drafted, live: LoadedVersion, clicks: pa.Table
) -> None:
    """The share of clicks whose item is among the 20 best of a dot product over all items."""
    draft = drafted(seed=3)
    some = clicks.slice(0, 100)
    report = judged(draft, live, clicks)
    hits = gate.hits(draft, some, some["item"].to_numpy(), k=20)

    queries = draft.model.query_vectors(from_columns(some, draft.model.spec.query, "query"))
    for query, item, is_hit in zip(queries, some["item"].to_pylist(), hits, strict=True):
        ranked = sorted(range(300), key=lambda i: -float(draft.vectors[i] @ query))[:20]
        assert is_hit == (item in {int(draft.item_keys[i]) for i in ranked})
    assert (report.events, report.k, report.live) == (1_000, 20, "v000001")
    assert report.live_recall is not None
    assert report.live_recall > 0.7


@pytest.mark.promise("P7")
def test_clicks_of_which_the_live_version_finds_none_decide_nothing(
    drafted: Drafted, live: LoadedVersion, clicks: pa.Table
) -> None:
    """All are on items that came since: below nothing nothing can fall, so even an untrained tower
    passes, and is judged again on other clicks.
    """
    new = pa.array(keys_of(pa.array(made.item_range(9000, len(clicks)))))
    on_new = clicks.set_column(clicks.column_names.index(ITEM_KEY), ITEM_KEY, new)

    report = judged(drafted(seed=9), live, on_new)

    assert (report.passed, report.recall, report.live_recall) == (True, 0.0, 0.0)
    assert (report.change_low, report.change_high) == (0.0, 0.0)
    assert not report.decided
    assert "undecided: v000001 finds none of 1,000 clicks, so no fall can be seen" in report.notes


ADVICE = "training.hourly.holdback_minutes: 11 would hold back enough (auto finds it)"


@pytest.mark.parametrize("count", [0, 199])
def test_too_few_clicks_are_said_and_not_judged(
    drafted: Drafted, live: LoadedVersion, clicks: pa.Table, count: int
) -> None:
    """Even an untrained tower passes then, with a note."""
    report = judged(drafted(seed=9), live, clicks.slice(0, count))

    assert report.passed
    assert report.recall is None
    assert not report.decided
    assert report.holdback_minutes == (11 if count else None)
    assert report.notes == (
        f"recall was not judged: {count} clicks that neither has learnt, of 200 needed"
        + (
            "; training.hourly.holdback_minutes: 11 would hold back enough (auto finds it)"
            if count
            else ""
        ),
    )


def test_only_the_newest_clicks_are_looked_at(
    drafted: Drafted, live: LoadedVersion, clicks: pa.Table
) -> None:
    """As many as the configuration says."""
    report = judged(drafted(), live, clicks, config=GateConfig(k=20, max_events=250))

    assert report.events == 250
    newest = judged(drafted(), live, clicks.slice(750))
    assert report.live_recall == newest.live_recall


@pytest.mark.promise("T9")
def test_recall_is_measured_on_no_click_that_either_version_has_learnt(
    tmp_path: Path, live: LoadedVersion, clicks: pa.Table
) -> None:
    """Slices behind the position of the draft or of the live version are left out; what the draft
    alone has learnt is kept apart.
    """
    deployment = made.deployment_at(tmp_path)
    for number in range(4):
        made.add_slice(deployment, number + 1, clicks.slice(number * 10, 10), first=number * 10)
    spec = deployment.model

    def rows(own: int, *others: int, limit: int = 1_000) -> tuple[list[int], list[int]]:
        evidence = newest_clicks(
            made.slices_of(deployment),
            own={0: own},
            others=[{0: position} for position in others],
            specs=[spec],
            limit=limit,
        )
        return evidence.unlearnt["item"].to_pylist(), evidence.learnt["item"].to_pylist()

    items = clicks["item"].to_pylist()
    assert rows(0) == (items[:40], [])
    assert rows(20, 10) == (items[20:40], items[10:20])
    assert rows(10, 30) == (items[30:40], [])
    assert rows(30, 10, 5) == (items[30:40], items[10:30])
    assert rows(15, 12) == (items[15:40], items[12:15])  # a slice that was remade with other ends
    assert rows(40, 0) == ([], items[:40])
    assert rows(40) == ([], items[:40])
    assert rows(0, limit=15) == (items[20:40], [])
    assert rows(40, limit=15) == ([], items[20:40])


def test_slices_made_for_other_features_are_left_out(
    tmp_path: Path, clicks: pa.Table, deployment: Deployment
) -> None:
    """A model that reads another column cannot be asked about them."""
    own = made.deployment_at(tmp_path)
    made.add_slice(own, 1, clicks.slice(0, 10).drop_columns(["query.region"]), first=0)
    made.add_slice(own, 2, clicks.slice(10, 10), first=10)

    found = newest_clicks(made.slices_of(own), own={}, others=[], specs=[own.model], limit=100)

    assert len(found.unlearnt) == 10


def test_publish_compares_with_the_live_version_on_new_clicks(
    tmp_path: Path, clock: HeldClock
) -> None:
    """From the files: an untrained tower is refused, a slightly different one promoted."""
    deployment = made.deployment_at(tmp_path)
    made.add_checkpoint(deployment, 1, position=500)
    publish(deployment, clock=clock)
    live = load_version(deployment.versions_dir, "v000001")
    made.add_slice(deployment, 1, made.clicks_liked_by(live, deployment, 500), first=0)
    made.add_slice(deployment, 2, made.clicks_liked_by(live, deployment, 400, seed=2), first=500)

    made.add_checkpoint(deployment, 2, position=500, seed=9)
    bad = publish(deployment, clock=clock)
    made.add_checkpoint(deployment, 3, position=500, noise=0.0005)
    good = publish(deployment, clock=clock)

    assert (bad.promoted, bad.gate.events) == (False, 400)
    assert (good.promoted, good.gate.events) == (True, 400)
    assert good.gate.live == "v000001"
