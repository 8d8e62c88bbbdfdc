"""The configuration files that users copy are right, and say the same of the same thing."""

from pathlib import Path

import pytest

from tests import reference
from twintide.config import load

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_config_that_a_user_may_copy_is_accepted(path: Path) -> None:
    """No key that does not exist, no combination that cannot work."""
    assert load(path).events.columns


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_config_begins_with_what_it_is_for(path: Path) -> None:
    """Who opens it reads first what it does and how to check a copy of it."""
    head = path.read_text(encoding="utf-8").split("\n\n")[0]

    assert head.startswith("# ")
    assert "twintide " in head


def test_the_composed_deployment_learns_what_the_quickstart_learns() -> None:
    """Two files for one stream: events and model must not drift apart."""
    composed, quickstart = load(CONFIGS / "compose.yaml"), load(CONFIGS / "quickstart.yaml")

    assert composed.learning_hash() == quickstart.learning_hash()


def test_the_production_config_keeps_secrets_and_doors_shut() -> None:
    """Encrypted, with the password and the token named but not written."""
    production = load(CONFIGS / "production.yaml")

    assert production.kafka.security_protocol == "SASL_SSL"
    assert production.kafka.sasl_password_env
    assert production.serving.token_env
    assert len(production.kafka.bootstrap_servers) > 1


def test_the_reference_says_what_the_code_reads() -> None:
    """Made anew by `python -m tests.reference`."""
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page()


def test_every_key_says_what_it_is() -> None:
    """No key of a configuration is without a text."""
    silent = [line for line in reference.page().splitlines() if line.endswith("|  |")]

    assert silent == []
