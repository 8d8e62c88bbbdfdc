"""How much is left to do is known from the first ticks on, though these cost next to nothing."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from evaluation.policies import parse_policy
from evaluation.span import Span
from evaluation.work import Moment, Progress, moments, seconds_left, seconds_of
from twintide.clock import to_unix_ms
from twintide.config import TrainingConfig
from twintide.days import Calendar

START = datetime(2026, 3, 2, tzinfo=UTC)
HOURS, A_HOUR = 72, 500
TICKS = [START + timedelta(hours=hour) for hour in range(HOURS)]
CLICKS_MS = to_unix_ms(START) + np.sort(
    np.random.default_rng(1).integers(0, HOURS * 3_600_000, HOURS * A_HOUR)
)
END = START + timedelta(hours=HOURS)
SPAN = Span(START, END, START + timedelta(hours=24), START + timedelta(hours=60))


@pytest.fixture(scope="module")
def found() -> list[Moment]:
    """Three days of a steady stream, of which a day and a half is scored."""
    return list(moments(TICKS, CLICKS_MS, Calendar.of(TrainingConfig()), SPAN))


def test_every_click_is_learnt_once_and_scored_where_it_is_to_be(found: list[Moment]) -> None:
    """By the hour, by the night but for the last day, and between the ends of the scoring."""
    assert [each.at for each in found] == TICKS
    assert sum(each.coming for each in found) == HOURS * A_HOUR
    assert sum(each.new for each in found) == HOURS * A_HOUR - found[-1].coming
    nights = [(each.at.hour, each.night) for each in found if each.night is not None]
    assert [at for at, _ in nights] == [0, 0]
    scored = (to_unix_ms(SPAN.score_from) <= CLICKS_MS) & (to_unix_ms(SPAN.score_until) > CLICKS_MS)
    assert sum(each.scored for each in found) == scored.sum()
    assert [each.has_nightly for each in found] == [False] * 24 + [True] * 48


def test_before_the_first_night_a_model_costs_next_to_nothing(found: list[Moment]) -> None:
    """A third of the ticks is a few hundredths of the work."""
    policies = [parse_policy(name) for name in ("nightly+hourly", "popular-1h")]
    seconds = [seconds_of(each, policies, sample=1.0) for each in found]

    assert sum(seconds[:24]) < 0.05 * sum(seconds)


@pytest.mark.parametrize("slower", [0.5, 1.0, 8.0])
def test_the_estimate_is_near_once_a_model_is_at_work(found: list[Moment], slower: float) -> None:
    """Five hours behind the first night it is within a quarter, however quick the machine is."""
    policies = [parse_policy(name) for name in ("nightly+hourly", "10min", "popular-1h")]
    seconds = [seconds_of(each, policies, sample=1.0) for each in found]
    done, left = sum(seconds[:29]), sum(seconds[29:])

    said = Progress(done, left).seconds_left(elapsed=slower * done)

    assert said == pytest.approx(slower * left, rel=0.25)


def test_seeds_and_a_sample_are_paid_for(found: list[Moment]) -> None:
    """Each seed is a policy more; what is not scored costs no scoring; lists are cheap."""
    one, plain = [parse_policy("nightly+hourly")], [parse_policy("popular-1h")]
    busy = found[30]
    lists, alone = seconds_of(busy, plain, sample=1.0), seconds_of(busy, one, sample=1.0)

    slicing = seconds_of(busy, [], sample=1.0)
    assert seconds_of(busy, one * 3, sample=1.0) - slicing == pytest.approx(3 * (alone - slicing))
    assert seconds_of(busy, one, sample=0.1) < alone
    assert lists - slicing < 0.05 * (alone - slicing)


def test_what_is_nearly_done_is_told_by_the_machine_alone() -> None:
    """And what has not begun by a usual one."""
    assert Progress(0, 100).seconds_left(elapsed=0) == 100
    assert Progress(1000, 100).seconds_left(elapsed=4000) == pytest.approx(400, rel=0.01)


def test_of_several_processes_the_last_one_is_waited_for() -> None:
    """Each goes at its own pace."""
    progress = [Progress(1000, 0), Progress(500, 300).after(100), Progress(900, 50)]

    assert seconds_left(progress, elapsed=1200) == pytest.approx(400, rel=0.01)
