"""One contestant's whole run, as a process of its own does it."""

from dataclasses import dataclass, replace

from benchmarks.models import peers
from benchmarks.models.contestants import Contestant, declared, scored
from benchmarks.models.report import Result
from benchmarks.models.stage import days_of
from twintide.config import Deployment
from twintide.telemetry import configure_logging

BASELINES = {
    "popular-all-time": "most clicked, all time",
    "popular-24h": "most clicked, 24 hours",
    "popular-1h": "most clicked, last hour",
    "co-visitation": "co-visitation",
}


@dataclass(frozen=True)
class Setup:
    """What every job is told."""

    base: Deployment
    scored: int
    seeds: int


def quiet() -> None:
    configure_logging(level=40)


@dataclass(frozen=True)
class OfModel:
    """A declared model, with each seed."""

    contestant: Contestant

    def __call__(self, setup: Setup) -> list[Result]:
        own = self.contestant
        days = days_of(declared(setup.base, own, seed=1), scored=setup.scored)
        tallies = [
            scored(declared(setup.base, own, seed=seed), days, by_the_hour=own.by_the_hour)
            for seed in range(1, setup.seeds + 1)
        ]
        return [Result.of(own.group, own.name, tallies, is_ours=True)]


@dataclass(frozen=True)
class OfLibrary:
    """A library's model: its setting is chosen first."""

    name: str

    def __call__(self, setup: Setup) -> list[Result]:
        library = next(each for each in peers.LIBRARIES if each.name == self.name)
        days = days_of(setup.base, scored=setup.scored)
        _, fallback = peers.popular(days)
        before = [each for each in days if not each.is_scored]
        tried = [*before[:-1], replace(before[-1], is_scored=True)]
        setting = peers.chosen(library, tried, fallback)
        tallies = [
            peers.scored(library, setting, days, fallback, seed=seed)
            for seed in range(1, setup.seeds + 1)
        ]
        said = ", ".join(
            f"{key} {value}" for key, value in setting.items() if key not in {"kind", "use_cg"}
        )
        return [Result.of("peers", f"{library.name} ({said})", tallies, is_ours=False)]


def lists_of_the_popular(setup: Setup) -> list[Result]:
    tallies, _ = peers.popular(days_of(setup.base, scored=setup.scored))
    return [
        Result.of("baselines", name, [tallies[policy]], is_ours=False)
        for policy, name in BASELINES.items()
    ]
