"""What an ingredient is: a change of the declaration, told of by name, and by what it is worth."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.ablation import ablation_of
from evaluation.ingredients import INGREDIENTS, Ingredient, setup_of
from evaluation.policies import Policy, parse_policy
from evaluation.report import report
from evaluation.runner import Runner
from evaluation.setup import Setup
from tests.console.conftest import ROOT
from tests.evaluation import made
from twintide import config
from twintide.errors import Refused

NEWS = Setup(config.load(ROOT / "configs" / "news.yaml"))
LISTS = [parse_policy("nightly+hourly"), parse_policy("popular-1h")]


def declared(path: Path) -> dict[str, Policy]:
    """The variations of a configuration, by ingredient."""
    found = ablation_of(Setup(config.load(path)), LISTS)
    return {str(each.ingredient): each for each in found.policies}


@pytest.mark.parametrize("name", ["news", "shop", "video", "quickstart", "kuairand"])
def test_of_every_configuration_each_ingredient_is_tried_or_it_is_said_why_not(name: str) -> None:
    """Each variation is a right declaration that differs, and goes back where that is known."""
    setup = Setup(config.load(ROOT / "configs" / f"{name}.yaml"))
    found = ablation_of(setup, LISTS)

    tried = {each.ingredient for each in found.policies}
    assert len(tried) == len(found.policies) >= 15
    assert not tried & {name for name, _ in found.left_out}
    assert {each.name for each in INGREDIENTS} <= tried | {name for name, _ in found.left_out}
    for each in found.policies:
        assert setup_of(each, setup) != setup


@pytest.mark.parametrize("ingredient", INGREDIENTS, ids=lambda each: each.name)
def test_what_was_put_in_is_what_is_taken_out(ingredient: Ingredient) -> None:
    """Without it, nothing is left to take out; with it, there is something again."""
    without = ingredient.without(NEWS)

    assert ingredient.without(without) == without or ingredient.with_it is None
    if ingredient.with_it is not None:
        assert ingredient.without(ingredient.with_it(without)) != ingredient.with_it(without)


def test_what_is_on_is_taken_out_and_what_is_off_is_put_in() -> None:
    """As the declaration of a news model has them."""
    found = declared(ROOT / "configs" / "news.yaml")

    def names(*ingredients: str) -> list[str]:
        return [found[each].name.removeprefix("nightly+hourly ") for each in ingredients]

    assert names("last click", "residual", "towers by the hour", "window of 10 minutes") == [
        "without last click",
        "without residual",
        "without towers by the hour",
        "without window of 10 minutes",
    ]
    assert names("sequence encoder", "user's id", "pool of negatives", "index of active items") == [
        "with sequence encoder",
        "with user's id",
        "with pool of negatives",
        "with index of active items",
    ]


def test_what_reads_the_last_click_goes_with_it() -> None:
    """A residual of a feature that is gone is none."""
    without = declared(ROOT / "configs" / "news.yaml")["last click"]

    model = setup_of(without, NEWS).deployment.model

    assert "last" not in {each.name for each in model.query}
    assert model.tower_of("query").residual is None
    assert model.tower_of("candidate").residual == "item"


def test_what_does_not_fit_is_left_out_with_the_reason() -> None:
    """Rows that are not as wide as the vectors are no residual of them."""
    narrow = config.fill_in(
        NEWS.deployment,
        {
            "model": {
                "embedding_width": 32,
                "query_tower": {"residual": None},
                "candidate_tower": {"residual": None},
            }
        },
    )
    found = ablation_of(Setup(narrow), LISTS)

    assert dict(found.left_out)["residual"].startswith("'history' gives 32 numbers")


def test_what_would_learn_the_same_is_tried_once() -> None:
    """The last click of the quickstart is its decayed history too: the report says so."""
    quickstart = Setup(config.load(ROOT / "configs" / "quickstart.yaml"))
    found = ablation_of(quickstart, LISTS)

    assert ("decayed history", "the same as without last click") in found.left_out
    names = [each.name for each in found.policies]
    assert "nightly+hourly without window of 1 day" in names
    assert "nightly+hourly without window of 7 days" in names


def test_ingredients_may_be_chosen_and_one_that_is_none_is_refused() -> None:
    """By name, and the names are told."""
    chosen = ablation_of(NEWS, LISTS, only=["last click"])
    assert [each.name for each in chosen.policies] == ["nightly+hourly without last click"]

    with pytest.raises(Refused) as refused:
        ablation_of(NEWS, LISTS, only=["last klick"])
    assert "last click" in str(refused.value.hint)


@pytest.mark.parametrize("names", [["popular-1h"], ["nightly", "hourly"]])
def test_only_one_model_policy_is_ablated(names: list[str]) -> None:
    """With none, or several, it is not said of which."""
    with pytest.raises(Refused, match="of one model policy"):
        ablation_of(NEWS, [parse_policy(name) for name in names])


def varied(skill: float, ingredient: str, word: str, *, seed: int = 0) -> Runner:
    runner, _ = made.runner("nightly+hourly", CLICKS, skill=skill, seed=seed)
    name = f"nightly+hourly {word} {ingredient}"
    runner.policy = replace(runner.policy, name=name, ingredient=ingredient)
    return runner


CLICKS = made.scored(6, 80, seed=1)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """The report of a model, a list and three variations."""
    own = [made.runner(name, CLICKS, skill=s)[0] for name, s in SKILLS.items()]
    others = [
        varied(0.3, "last click", "without"),
        varied(0.6, "logQ correction", "without"),
        varied(0.9, "pool of negatives", "with", seed=5),
    ]
    left_out = [("residual", "too narrow")]
    return report([*own, *others], data=made.data(CLICKS), left_out=left_out)


SKILLS = {"nightly+hourly": 0.6, "popular-1h": 0.5}


def test_variations_stand_apart_from_policies(found: dict[str, Any]) -> None:
    """Each less the whole, of the same clicks; what could not be tried, and why."""
    assert [each["name"] for each in found["policies"]] == list(SKILLS)
    whole, ablation = found["policies"][0], found["ablation"]
    assert ablation["policy"] == "nightly+hourly"
    assert ablation["left_out"] == [{"ingredient": "residual", "why": "too narrow"}]
    names = [each["name"] for each in ablation["ingredients"]]
    assert names == ["without last click", "without logQ correction", "with pool of negatives"]
    for each in ablation["ingredients"]:
        less = each["recall@10"] - whole["recall@10"]
        assert each["difference"]["recall@10"] == pytest.approx(less, abs=2e-6)
    assert ablation["ingredients"][1]["difference"]["recall@10"] == 0


def test_the_verdict_says_what_carries_and_what_more_would(found: dict[str, Any]) -> None:
    """And of what no difference can be told."""
    said = " / ".join(found["verdict"])

    assert "what carries the model here, by what is lost without it: last click (-0." in said
    assert "what would make it better, by what is won with it: pool of negatives (+0." in said
    assert "no difference can be told of logQ correction" in said
