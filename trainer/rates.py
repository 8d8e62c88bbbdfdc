"""What a run may change, and how fast: the one difference between the two lines besides the order.

The nightly epoch changes everything. An hourly pass changes the rows of ID-embedding tables only,
unless `training.hourly.learns` says `everything`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from twintide.config import Deployment, HourlyConfig, NightlyConfig
from twintide.config.training import SMALLEST_BATCH


@dataclass(frozen=True)
class RowRate:
    """How far rows of one table move at a step."""

    learning_rate: float
    new: float
    """Of rows that an id got for the rows of slices that are being learnt."""


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

    of_tables: Mapping[str, RowRate] = field(default_factory=dict)
    """Tables whose rows have rates of their own."""

    def of(self, table: str) -> RowRate:
        """How far the rows of a table move."""
        plain = RowRate(self.row_learning_rate, self.row_learning_rate)
        return self.of_tables.get(table, plain)


def nightly_rates(deployment: Deployment, clicks: int) -> Rates:
    """Every table and every dense weight, for a day of so many clicks."""
    config = deployment.training.nightly
    tables = deployment.model.learning_tables()
    return _rates(config, tables, config.dense_learning_rate, clicks)


def hourly_rates(deployment: Deployment, clicks: int) -> Rates:
    """Tables that are looked up by user or item id, and nothing else, by default; for a slice of so
    many clicks.
    """
    config, model = deployment.training.hourly, deployment.model
    if config.learns == "everything":
        return _rates(config, model.learning_tables(), config.dense_learning_rate, clicks)
    return _rates(config, model.hourly_tables(deployment.events), None, clicks)


def batch_rows(config: HourlyConfig | NightlyConfig, clicks: int) -> int:
    """Clicks of a whole batch, where there are so many to learn from: as declared, or fewer so that
    there are `min_steps` batches.
    """
    if not config.min_steps:
        return config.batch_rows
    return min(config.batch_rows, max(SMALLEST_BATCH, clicks // config.min_steps))


def _rates(
    config: HourlyConfig | NightlyConfig, tables: tuple[str, ...], dense: float | None, clicks: int
) -> Rates:
    own = dict[str, RowRate]()
    for name, said in config.tables.items():
        rate = said.row_learning_rate or config.row_learning_rate
        own[name] = RowRate(rate, said.new_row_learning_rate or rate)
    whole = batch_rows(config, clicks)
    return Rates(tables, config.row_learning_rate, dense, whole, config.clip_rows_at, own)
