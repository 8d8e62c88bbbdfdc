"""`training:`, both lines."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from twintide.config.section import Config
from twintide.events import ZoneName
from twintide.features.kind import Name
from twintide.features.refreshed import MINUTES_OF_A_WEEK

_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


def _time_of_day(text: str) -> str:
    if not _TIME_OF_DAY.fullmatch(text):
        raise ValueError(f"{text!r} is no time of day, such as '04:00'")
    return text


RowRate = Annotated[float, Field(gt=0, le=10)]
DenseRate = Annotated[float, Field(gt=0, le=1)]
ClipAt = Annotated[float, Field(gt=0, le=1000)] | None
BatchRows = Annotated[int, Field(ge=2, le=65_536)]
SMALLEST_BATCH = 64
"""Below so many clicks a batch has too few items to tell one click from another by."""


class TableRates(Config):
    """How far the rows of one table move at a step, where that is not as for all of them."""

    row_learning_rate: RowRate | None = None
    """null: as that of the line."""

    new_row_learning_rate: RowRate | None = None
    """Of rows that an id gets in the very slice that is learnt, or in the day by night, while that
    is learnt; null: as the others.
    """


class ReplayConfig(Config):
    """Rows of the last hours, drawn by lot, that an hourly pass learns again beside new ones. They
    count as nothing new: neither as progress nor for popularity, admission or statistics.
    """

    share: Annotated[float, Field(gt=0, le=0.9)] = 0.2
    """Of the rows of a batch; so there are more batches, each of as many rows as before."""

    hours: Annotated[int, Field(ge=1, le=168)] = 6
    """How far back they may lie. Their slices are read, where a row of them was drawn, and kept."""


class HourlyConfig(Config):
    """The ordered pass over the newest slices."""

    every_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    """How often the scheduler rings, counted from the full hour. Statistics that are learnt by are
    as old, where they do not say `refresh_minutes`.
    """

    batch_rows: BatchRows = 512
    """Clicks in one step, where there are enough of them; small batches follow the hour better than
    large ones.
    """

    min_steps: Annotated[int, Field(ge=0, le=100_000)] = 60
    """A slice of few clicks is learnt in smaller batches, down to 64 clicks, so that it has so many
    steps: a slow stream learns too little from a handful. 0: all batches are of `batch_rows`.
    """

    order: Literal["ordered", "shuffled"] = "ordered"
    """Clicks of a slice as they came, so that the newest has the last word, or shuffled by
    `training.seed`. What rows that are learnt again were before, `shuffled` does not keep apart,
    so there is no `replay` with it.
    """

    clip_rows_at: ClipAt = None
    """Root mean square of one row's gradient at a step, from which on it is scaled down to this, so
    that no click of an extreme weight or number stops its rows from learning; null: none is. It is
    that of the loss of a whole batch: a row of one click in 512 has about 0.002 at most.
    """

    row_learning_rate: RowRate = 0.1
    """How far a table's row moves at a step."""

    tables: dict[Name, TableRates] = {}  # noqa: RUF012  pydantic gives each its own
    """By name of a table that learns in this line: rates of its own."""

    learns: Literal["id_tables", "everything"] = "id_tables"
    """What the pass may change. `everything` lets dense weights and side tables learn too, and may
    begin without a nightly checkpoint.
    """

    dense_learning_rate: DenseRate = 1e-3
    """Used only where `learns` is `everything`."""

    replay: ReplayConfig | None = None
    """Rows of the last `hours`, drawn by lot, that are learnt again beside new ones, and are this
    `share` of a batch (0.2 of 6 hours): so there are more batches. null: none are. What is learnt
    again counts as nothing new, and slices of so many hours are kept for it.
    """

    holdback_minutes: Annotated[int, Field(ge=0, le=MINUTES_OF_A_WEEK)] | Literal["auto"] = 2
    """The newest minutes, left to the next run to learn: the gate judges a version on them. `auto`:
    as many as the last version that was judged says it takes to see a fall of recall, at least 2
    and at most half of `every_minutes`, in whole shards.
    """


class NightlyConfig(Config):
    """The shuffled epoch over a day."""

    batch_rows: BatchRows = 512
    """Clicks in one step, where there are enough of them."""

    min_steps: Annotated[int, Field(ge=0, le=100_000)] = 1500
    """A day of few clicks is learnt in smaller batches, down to 64 clicks, so that the night has so
    many steps: towers learn too little in a handful. 0: all batches are of `batch_rows`.
    """

    clip_rows_at: ClipAt = None
    """Root mean square of one row's gradient at a step, from which on it is scaled down to this, so
    that no click of an extreme weight or number stops its rows from learning; null: none is. It is
    that of the loss of a whole batch: a row of one click in 512 has about 0.002 at most.
    """

    row_learning_rate: RowRate = 0.1
    """How far a table's row moves at a step."""

    tables: dict[Name, TableRates] = {}  # noqa: RUF012  pydantic gives each its own
    """By name of a table that learns in this line: rates of its own."""

    dense_learning_rate: DenseRate = 1e-3
    """How far the towers' weights move at a step."""

    memory_rows: Annotated[int, Field(ge=100)] = 2_000_000
    """Clicks that a night holds in memory. A day that has more is shuffled by way of files beside
    the checkpoints, which take about what its slices take uncompressed.
    """

    save_every_rows: Annotated[int, Field(ge=100)] | None = 10_000_000
    """Clicks after which the epoch is saved in its middle: the run after one that died goes on from
    there. A save costs as the rows do that were touched since the last; null: there is none.
    """


class TrainingConfig(Config):
    """Both lines of training."""

    day_starts_at: Annotated[str, AfterValidator(_time_of_day)] = "00:00"
    """HH:MM at which a day begins, in `time_zone`: the users' quiet hour."""

    time_zone: ZoneName = "UTC"
    """IANA name, such as Europe/Vienna."""

    seed: NonNegativeInt = 1
    """Of the first weights and of every shuffle."""

    threads: Annotated[int, Field(ge=1, le=256)] = 2
    """CPU threads of one run; a run is reproducible to the byte for the same number."""

    keep_hourly: PositiveInt = 48
    """Hourly checkpoints that gc keeps; every nightly of the last `keep_nightly` stays too."""

    keep_nightly: PositiveInt = 14
    """Nightly checkpoints that gc keeps: days to which `twintide rewind` can go back, and for which
    slices are kept.
    """

    hourly: HourlyConfig = HourlyConfig()
    nightly: NightlyConfig = NightlyConfig()
