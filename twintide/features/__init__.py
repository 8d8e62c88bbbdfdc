"""Features: what each tower sees, declared in YAML. One file for each kind; `kind.py` says what a
kind has to state.
"""

from typing import Annotated

from pydantic import Field

from twintide.features.attention_history import AttentionHistory
from twintide.features.bucket import Bucket
from twintide.features.cross import Cross
from twintide.features.cyclic_time import CyclicTime
from twintide.features.day_of_week import DayOfWeek
from twintide.features.decayed_history import DecayedHistory
from twintide.features.dense import Dense
from twintide.features.history import History
from twintide.features.hour_of_day import HourOfDay
from twintide.features.item_statistics import ItemStatistics
from twintide.features.sparse import Sparse
from twintide.features.time_since import TimeSince
from twintide.features.user_statistics import UserStatistics
from twintide.features.varlen import Varlen
from twintide.features.weighted_varlen import WeightedVarlen
from twintide.features.words import Words

Feature = Annotated[
    Sparse
    | Varlen
    | WeightedVarlen
    | Words
    | Cross
    | Bucket
    | Dense
    | HourOfDay
    | DayOfWeek
    | CyclicTime
    | TimeSince
    | History
    | DecayedHistory
    | AttentionHistory
    | ItemStatistics
    | UserStatistics,
    Field(discriminator="kind"),
]
"""Whatever may stand in `model.query` and `model.candidate`."""
