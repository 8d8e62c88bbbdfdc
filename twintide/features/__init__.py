"""Features: what each tower sees, declared in YAML. One file for each kind; `kind.py` says what a
kind has to state.
"""

from typing import Annotated

from pydantic import Field

from twintide.features.dense import Dense
from twintide.features.history import History
from twintide.features.hour_of_day import HourOfDay
from twintide.features.item_statistics import ItemStatistics
from twintide.features.sparse import Sparse
from twintide.features.varlen import Varlen

Feature = Annotated[
    Sparse | Varlen | Dense | HourOfDay | History | ItemStatistics, Field(discriminator="kind")
]
"""Whatever may stand in `model.query` and `model.candidate`."""
