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

    batch_rows: int
    """Clicks of a whole batch. A step's loss is a sum over its clicks divided by this, so that a
    batch of few moves nothing as far as a whole one does.
    """

    clip_rows_at: float | None = None
    """The largest root mean square of a row's gradient; None: as they are."""


def nightly_rates(deployment: Deployment) -> Rates:
    """Every table and every dense weight."""
    config = deployment.training.nightly
    tables = deployment.model.learning_tables()
    return Rates(
        tables,
        config.row_learning_rate,
        config.dense_learning_rate,
        config.batch_rows,
        config.clip_rows_at,
    )


def hourly_rates(deployment: Deployment) -> Rates:
    """Tables that are looked up by user or item id, and nothing else, by default."""
    config, model = deployment.training.hourly, deployment.model
    if config.learns == "everything":
        tables, dense_rate = model.learning_tables(), config.dense_learning_rate
    else:
        tables, dense_rate = model.hourly_tables(deployment.events), None
    return Rates(
        tables, config.row_learning_rate, dense_rate, config.batch_rows, config.clip_rows_at
    )
