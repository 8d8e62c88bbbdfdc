"""What a run may change, and how fast: the one difference between the two lines besides the order.

The nightly epoch changes everything. An hourly pass changes the rows of ID-embedding tables only,
unless `training.hourly.learns` says `everything`.
"""

from dataclasses import dataclass

from twintide.config import Deployment


@dataclass(frozen=True)
class Rates:
    """What learns; whatever is not named here is in reach of no optimizer."""

    tables: tuple[str, ...]
    """Tables whose rows learn."""

    row_learning_rate: float
    dense_learning_rate: float | None
    """None: dense weights are frozen."""


def nightly_rates(deployment: Deployment) -> Rates:
    """Every table and every dense weight."""
    config = deployment.training.nightly
    tables = deployment.model.learning_tables()
    return Rates(tables, config.row_learning_rate, config.dense_learning_rate)


def hourly_rates(deployment: Deployment) -> Rates:
    """Tables that are looked up by user or item id, and nothing else, by default."""
    config, model = deployment.training.hourly, deployment.model
    if config.learns == "everything":
        return Rates(model.learning_tables(), config.row_learning_rate, config.dense_learning_rate)
    return Rates(model.hourly_tables(deployment.events), config.row_learning_rate, None)
