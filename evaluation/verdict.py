"""What follows from an evaluation, in words: a person reads this first, and perhaps nothing else.

Nothing is said to be better where that may be chance. Where a plain list does as well as the model,
it is the first thing said.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from evaluation.intervals import Share, signed

KEY = "recall@10"
"""What policies are ranked by: the share of clicks whose item was in the first ten."""

ENOUGH_RATIO = 0.01
"""A slower cadence is enough where it loses less than this of its recall."""

FEW_POSITIVES = 200
WIDE = 0.06
"""A group of fewer clicks, or with a wider interval on either side, is too small to judge."""

Policy = dict[str, Any]
Report = dict[str, Any]


@dataclass(frozen=True)
class Beside:
    """The policies of a report beside each other."""

    policies: dict[str, Policy]
    """The best first; those that have not scored all clicks yet are left out."""

    differences: dict[tuple[str, str], dict[str, Any]]

    @classmethod
    def of(cls, report: Report) -> "Beside":
        clicks = max((each["positives"] for each in report["policies"]), default=0)
        scored = [each for each in report["policies"] if 0 < each["positives"] == clicks]
        ranked = sorted(scored, key=lambda each: each[KEY], reverse=True)
        return cls(
            {each["name"]: each for each in ranked},
            {(each["one"], each["other"]): each for each in report["differences"]},
        )

    def best(self, kind: str, key: str = KEY) -> Policy | None:
        """Of the models, or of the baselines."""
        found = [each for each in self.policies.values() if each["kind"] == kind]
        return max(found, key=lambda each: each[key], default=None)

    def less(self, one: str, other: str, k: int = 10) -> Share:
        """How much more the one found."""
        sign = 1 if (one, other) in self.differences else -1
        pair = (one, other) if sign > 0 else (other, one)
        found = self.differences[pair]
        low, high = (sign * each for each in found[f"interval@{k}"])
        return Share(sign * found[f"recall@{k}"], min(low, high), max(low, high))


def verdict(report: Report) -> list[str]:
    """Sentence by sentence, the most important one first."""
    beside = Beside.of(report)
    if not beside.policies:
        return ["nothing was scored"]
    return [sentence for part in _PARTS for sentence in part(beside)]


def _winner(beside: Beside) -> Iterator[str]:
    model, plain = beside.best("model"), beside.best("baseline")
    if model is None or plain is None:
        best = model or plain
        if best is not None:
            yield f"best: {_said(best)}"
        return
    lead = beside.less(model["name"], plain["name"])
    if lead.low > 0:
        yield f"the model wins: {_said(model)}; the best list, {_said(plain)}: {signed(lead)}"
    elif lead.high < 0:
        yield (
            f"a plain list beats every model: {_said(plain)}; the best model, {_said(model)}: "
            f"{signed(lead)}. As it is configured, the model is not worth its cost for the first "
            "ten"
        )
    else:
        yield (
            f"the model and the best list are too close to tell: {_said(model)}; {_said(plain)}: "
            f"{signed(lead)}"
        )
    yield from _further_down(beside, lead)


def _further_down(beside: Beside, lead: Share) -> Iterator[str]:
    """Where the first hundred tell another story."""
    model, plain = beside.best("model", "recall@100"), beside.best("baseline", "recall@100")
    if model is None or plain is None:
        return
    deep = beside.less(model["name"], plain["name"], 100)
    if (deep.low > 0) == (lead.low > 0) and (deep.high < 0) == (lead.high < 0):
        return
    better = "the model wins" if deep.low > 0 else "a list wins"
    words = better if deep.is_sure else "it is too close to tell"
    yield (
        f"among the first hundred {words}: {_said(model, 'recall@100')}; "
        f"{_said(plain, 'recall@100')}: {signed(deep)}"
    )


def _worth(one: str, other: str, what: str) -> Callable[[Beside], Iterator[str]]:
    """A sentence on what the one policy has more than the other."""

    def said(beside: Beside) -> Iterator[str]:
        if one not in beside.policies or other not in beside.policies:
            return
        gain = beside.less(one, other)
        before = beside.policies[other][KEY]
        if gain.low > 0:
            times = f", {before + gain.value:.3f} for {before:.3f}" if before else ""
            yield f"{what} pay here: {signed(gain)}{times} ({one} against {other})"
        elif gain.high < 0:
            yield f"{what} do harm here: {signed(gain)} ({one} against {other})"
        else:
            yield f"{what} make no difference that can be told: {signed(gain)}"

    return said


def _cadence(beside: Beside) -> Iterator[str]:
    """The slowest cadence that loses no more than chance, or a hundredth, against the best one."""
    paced = sorted(
        (minutes, name) for name in beside.policies if (minutes := minutes_of(name)) is not None
    )
    if len(paced) < 2:  # noqa: PLR2004  nothing to choose
        return
    best = max((name for _, name in paced), key=lambda name: beside.policies[name][KEY])
    for minutes, name in reversed(paced):
        lost = Share(0.0, 0.0, 0.0) if name == best else beside.less(best, name)
        if not lost.is_sure or lost.value < ENOUGH_RATIO * beside.policies[best][KEY]:
            words = "every 24 hours" if minutes == _DAY else f"every {minutes} minutes"
            yield f"an update {words} is enough ({name})" + (
                "" if name == best else f": {best}, the best of all, has {signed(lost)}"
            )
            return


_DAY = 1440


def minutes_of(name: str) -> int | None:
    """How often a policy that has a cadence goes live with what it learnt."""
    if name == "nightly":
        return _DAY
    if name == "nightly+hourly":
        return 60
    return int(name[:-3]) if name.endswith("min") and name[:-3].isdigit() else None


def _groups(beside: Beside) -> Iterator[str]:
    """For whom a list is better, and of whom there are too few clicks."""
    few, lost = [], []
    names = dict.fromkeys(name for each in beside.policies.values() for name in each["groups"])
    for name in names:
        model, plain = _best_of(beside, "model", name), _best_of(beside, "baseline", name)
        any_of = model or plain
        if any_of is None or not any_of["positives"]:
            continue
        if any_of["positives"] < FEW_POSITIVES or _half(any_of) > WIDE:
            few.append(f"{name.replace('_', ' ')} ({any_of['positives']:,} clicks)")
        elif model and plain and plain["interval@10"][0] > model["interval@10"][1]:
            lost.append(f"{name.replace('_', ' ')} ({plain[KEY]:.3f} against {model[KEY]:.3f})")
    if lost:
        yield f"a list is better than any model for {', '.join(lost)}"
    if few:
        yield f"too few clicks to judge {', '.join(few)}"


def _best_of(beside: Beside, kind: str, group: str) -> dict[str, Any] | None:
    found = [
        each["groups"][group]
        for each in beside.policies.values()
        if each["kind"] == kind and each["groups"].get(group, {}).get(KEY) is not None
    ]
    return max(found, key=lambda each: each[KEY], default=None)


def _half(summary: dict[str, Any]) -> float:
    low, high = summary["interval@10"]
    return float(high - low) / 2


def _cost(beside: Beside) -> Iterator[str]:
    model = beside.best("model")
    if model is None or not model["cost_seconds"]:
        return
    total = sum(model["cost_seconds"].values())
    parts = ", ".join(f"{name} {part / total:.0%}" for name, part in model["cost_seconds"].items())
    yield (
        f"an hour of the stream costs {model['name']} {model['cost_seconds_per_hour']:.2f} s of "
        f"this machine: {parts}"
    )


def _statistics(beside: Beside) -> Iterator[str]:
    """What statistics alone give of what a quicker cadence gives."""
    start = "nightly+hourly+statistics-"
    for name in beside.policies:
        quick = name.removeprefix(start)
        if not name.startswith(start) or "nightly+hourly" not in beside.policies:
            continue
        gain = beside.less(name, "nightly+hourly")
        words = f"statistics every {quick.removesuffix('min')} minutes between hourly passes"
        of_all = ""
        if quick in beside.policies:
            of_all = f"; passes as often give {signed(beside.less(quick, 'nightly+hourly'))}"
        yield f"{words} give {signed(gain)}{of_all}"


def _ways(beside: Beside) -> Iterator[str]:
    """What another way to learn by the hour is worth, beside its opposite or what is configured."""
    for name in beside.policies:
        base, _, way = name.rpartition("+")
        words, opposite = _WAYS.get(way, ("", ""))
        others = [each for each in (f"{base}+{opposite}", base) if each in beside.policies]
        for other in others[:1] if words else ():
            yield from _worth(name, other, words)(beside)


_WAYS = {
    "shuffled": ("passes whose clicks are shuffled", "ordered"),
    "everything": ("dense weights that learn by the hour", "id_tables"),
}


def _index(beside: Beside) -> Iterator[str]:
    """What an exact search would have found."""
    for name, policy in beside.policies.items():
        found = policy.get("index", {}).get("difference")
        if found:
            parts = (
                f"{signed(Share(found[f'recall@{k}'], *found[f'interval@{k}']))} among {k}"
                for k in (10, 100)
            )
            yield f"the index costs {name}, beside an exact search: {', '.join(parts)}"


_PARTS: tuple[Callable[[Beside], Iterator[str]], ...] = (
    _winner,
    _worth("nightly+hourly", "nightly", "hourly updates"),
    _worth("nightly+hourly", "hourly", "nightly retrains"),
    _cadence,
    _statistics,
    _ways,
    _index,
    _groups,
    _cost,
)


def _said(policy: Policy, key: str = KEY) -> str:
    return f"{policy['name']} with {key} {policy[key]:.3f}"
