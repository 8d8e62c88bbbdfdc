"""What a policy's name says, and what of its passes may be said behind it."""

import pytest

from evaluation.policies import parse_policy
from twintide.errors import Refused


@pytest.mark.parametrize(
    ("name", "order", "learns"),
    [
        ("nightly+hourly", None, None),
        ("nightly+hourly+shuffled", "shuffled", None),
        ("nightly+hourly+ordered+id_tables", "ordered", "id_tables"),
        ("nightly+hourly+id_tables+ordered", "ordered", "id_tables"),
        ("10min+everything", None, "everything"),
        ("nightly+hourly+statistics-10min+shuffled", "shuffled", None),
        ("hourly+shuffled", "shuffled", "everything"),
    ],
)
def test_behind_a_name_is_how_its_passes_learn(
    name: str, order: str | None, learns: str | None
) -> None:
    """All else is as of the name before it; nothing said is as the configuration has it."""
    policy = parse_policy(name)

    assert (policy.name, policy.order, policy.learns) == (name, order, learns)
    assert policy.nightly == (name != "hourly+shuffled")
    assert policy.cadence_minutes == (10 if "10min" in name else 60)


@pytest.mark.parametrize(
    "name",
    [
        "nightly+shuffled",
        "popular-1h+shuffled",
        "hourly+id_tables",
        "nightly+hourly+shuffled+ordered",
        "nightly+hourly+shuffled+shuffled",
        "nightly+hourly+sorted",
        "nightly+hourly+",
        "7min",
        "+shuffled",
    ],
)
def test_what_says_nothing_that_can_be_is_refused(name: str) -> None:
    """No passes, nobody who learns dense weights, two orders at once; the names are told."""
    with pytest.raises(Refused, match="there is no policy") as refused:
        parse_policy(name)
    assert "+shuffled" in str(refused.value.hint)
