"""What each ingredient of a declaration is worth: the same policy without it, or with it.

Each ingredient makes one more policy, which learns and is scored beside the whole one, click by
click.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluation.figures import Figures, between
from evaluation.ingredients import Ingredient, ingredients_of, setup_of
from evaluation.intervals import Share, signed
from evaluation.policies import Policy, Variation
from evaluation.setup import Setup
from twintide.errors import Refused
from twintide.problems import Misconfigured


@dataclass(frozen=True)
class Ablation:
    """What there is to compare, and what cannot be."""

    policies: tuple[Policy, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    """Ingredients that do not fit the declaration or say what another says, and why."""


def ablation_of(setup: Setup, policies: Sequence[Policy], *, only: Sequence[str] = ()) -> Ablation:
    """Of the one model policy among these; of the ingredients in `only`, or of all. Raises Refused
    where there is no such one.
    """
    models = [each for each in policies if each.kind == "model" and each.is_told_of]
    if len(models) != 1:
        raise Refused(
            f"an ablation is of one model policy, and these are {len(models)}",
            hint="such as `--ablate --policy nightly+hourly --policy popular-1h`",
        )
    tried, left_out = list[tuple[Policy, Setup]](), list[tuple[str, str]]()
    for ingredient in _chosen(list(ingredients_of(setup)), only):
        try:
            varied = _varied(ingredient, setup, models[0])
        except Misconfigured as problem:
            left_out.append((ingredient.name, problem.problems[0].reason))
            continue
        for policy, own in varied:
            same = next((each for each, its in tried if its == own), None)
            if same is None:
                tried.append((policy, own))
            else:  # it would learn the same once more
                why = f"the same as {same.variation} {same.ingredient}"
                left_out.append((ingredient.name, why))
    return Ablation(tuple(policy for policy, _ in tried), tuple(left_out))


def _chosen(known: Sequence[Ingredient], only: Sequence[str]) -> Iterator[Ingredient]:
    names = [each.name for each in known]
    for name in only:
        if name not in names:
            raise Refused(f"there is no ingredient {name!r}", hint=f"there are {', '.join(names)}")
    yield from (each for each in known if each.name in only or not only)


def _varied(ingredient: Ingredient, setup: Setup, policy: Policy) -> list[tuple[Policy, Setup]]:
    """Without it, or else with it, and what that works with; nothing where neither changes
    anything.
    """
    tries: tuple[Variation, ...] = ("without", "with")
    for word in tries:
        name = f"{policy.name} {word} {ingredient.name}"
        varied = replace(policy, name=name, ingredient=ingredient.name, variation=word)
        if (own := setup_of(varied, setup)) != setup:
            return [(varied, own)]
    return []


def effects(
    whole: Figures,
    varied: Sequence[Figures],
    left_out: Sequence[tuple[str, str]],
    *,
    stream_hours: int,
) -> dict[str, Any]:
    """The ablation's part of report.json: each variation, and its recall less that of the whole."""
    return {
        "policy": whole.policy.name,
        "ingredients": [
            {
                "ingredient": each.policy.ingredient,
                "name": each.policy.name.removeprefix(f"{whole.policy.name} "),
                **each.summary(each.everything),
                "difference": between(each, whole) if len(each.users) == len(whole.users) else {},
                **each.seeds(),
                **each.costs(stream_hours),
            }
            for each in varied
        ],
        "left_out": [{"ingredient": name, "why": why} for name, why in left_out],
    }


def verdict(ablation: dict[str, Any]) -> Iterator[str]:
    """Sentence by sentence: what carries, what harms, what more would do, and what cannot be told
    apart from chance. The largest first.
    """
    unsure = []
    said: dict[tuple[str, bool], list[str]] = {}
    tried = [each for each in ablation["ingredients"] if each["difference"]]
    for each in sorted(tried, key=lambda each: -abs(each["difference"]["recall@10"])):
        low, high = each["difference"]["interval@10"]
        found = Share(each["difference"]["recall@10"], low, high)
        word = each["name"].partition(" ")[0]
        if found.is_sure:
            words = f"{each['ingredient']} ({signed(found)})"
            said.setdefault((word, found.value > 0), []).append(words)
        else:
            unsure.append(each["ingredient"])
    for key, words in _VERDICTS.items():
        if key in said:
            yield f"{words}: {', '.join(said[key])}"
    if unsure:
        yield f"no difference can be told of {', '.join(unsure)}"


_VERDICTS = {
    ("without", False): "what carries the model here, by what is lost without it",
    ("without", True): "what does harm here, by what is won without it",
    ("with", True): "what would make it better, by what is won with it",
    ("with", False): "what would make it worse, by what is lost with it",
}
