"""Wrong declarations of negatives: each refused by its key, with the reason."""

from pathlib import Path
from typing import Any

import pytest

from twintide import config
from twintide.errors import Refused
from twintide.problems import Misconfigured

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
IN_BATCH, UNIFORM = {"kind": "in_batch"}, {"kind": "uniform", "count": 100}


def declared(*sources: Any, **more: Any) -> config.Deployment:
    return config.fill_in(config.load(QUICKSTART), {"model": {"negatives": list(sources), **more}})


WRONG: dict[str, tuple[list[Any], str]] = {
    "none": ([], r"model\.negatives: must hold at least 1"),
    "no kind": ([{"count": 3}], r"model\.negatives\.0: needs a kind"),
    "a kind that nobody has": ([{"kind": "random"}], r"has a kind that is none of"),
    "no count": ([IN_BATCH, {"kind": "uniform"}], r"model\.negatives\.1\.count: is missing"),
    "a count of nothing": ([{"kind": "uniform", "count": 0}], "must be at least 1; it is 0"),
    "one kind twice": ([UNIFORM, IN_BATCH, UNIFORM], "2 sources are uniform"),
    "a key of another": ([{**UNIFORM, "exponent": 1.0}], "is no key that this section has"),
    "an exponent that is none": (
        [{"kind": "popularity", "count": 9, "exponent": -1.0}],
        r"exponent: must be at least 0",
    ),
    "a pool alone": ([{"kind": "pool", "count": 9}], "pool alone would leave items that are never"),
    "a pool that is drawn empty": (
        [IN_BATCH, {"kind": "pool", "count": 90, "clicks": 80}],
        r"model\.negatives\.1\.clicks: 80 are fewer than the 90 that are drawn",
    ),
    "exposures": ([{"kind": "exposed"}], "shown and not clicked is never a negative"),
    "impressions": ([{"kind": "impressions", "count": 9}], "shown and not clicked is never a"),
    "a word": (["not_clicked"], "shown and not clicked is never a negative"),
}


@pytest.mark.parametrize(("sources", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_source_is_refused_by_key_and_reason(sources: list[Any], told: str) -> None:
    """Before anything is trained."""
    with pytest.raises((Refused, Misconfigured), match=told):
        declared(*sources)


def hard(*columns: str, **keys: Any) -> list[Any]:
    return [IN_BATCH, {"kind": "hard", "from_columns": list(columns), **keys}]


WRONG_HARD: dict[str, tuple[list[Any], str]] = {
    "no columns": (hard(), r"model\.negatives\.1\.from_columns: must hold at least 1"),
    "a column that is not there": (hard("dropd"), "events have no column 'dropd'"),
    "one item": (hard("item_id"), "'item_id' is int64, and a list of items is list<int64>; an ev"),
    "ids of another type": (
        hard("names"),
        "'names' is list<string>, and a list of items is list<i",
    ),
    "what was shown": (
        hard("dropped", "shown_items"),
        "names what was shown: an item that was sho",
    ),
    "what was not clicked": (hard("not_clicked"), "shown and not clicked is never a negative"),
    "alone": (hard("dropped")[1:], "hard alone would leave items that are never a negative"),
    "nothing easy": (hard("dropped", share=1.0), "share: must be less than 1; it is 1.0"),
    "none of a click": (hard("dropped", at_most=0), "at_most: must be at least 1; it is 0"),
    "a number of a share": (hard("dropped", share="half"), "share: must be a number"),
}


@pytest.mark.parametrize(("sources", "told"), WRONG_HARD.values(), ids=WRONG_HARD)
def test_wrong_hard_negatives_are_refused_by_key_and_reason(sources: list[Any], told: str) -> None:
    """What was shown is named as such wherever its column's name tells."""
    columns = {"dropped": "list<int64>", "names": "list<string>", "shown_items": "list<int64>"}
    columns |= {"not_clicked": "list<int64>"}
    quickstart = config.fill_in(config.load(QUICKSTART), {"events": {"columns": columns}})

    assert config.fill_in(quickstart, {"model": {"negatives": hard("dropped")}}).model.hard()
    with pytest.raises((Refused, Misconfigured), match=told):
        config.fill_in(quickstart, {"model": {"negatives": sources}})


def test_a_loss_may_have_as_many_negatives_as_the_sources_bring() -> None:
    """More than a batch of clicks has, where others are drawn; and not more than all of them."""
    drawn = {"kind": "uniform", "count": 600}
    fits = declared(IN_BATCH, drawn, loss={"kind": "softmax", "negatives": 1111})

    assert fits.model.loss.drawn() == 1111
    with pytest.raises(Refused, match="1112 are more than a batch of 512 clicks and in_batch, uni"):
        declared(IN_BATCH, drawn, loss={"kind": "softmax", "negatives": 1112})
    with pytest.raises(Refused, match="601 are more than"):
        declared(drawn, loss={"kind": "softmax", "negatives": 601})
