"""What an evaluation is of: a declaration, and how a request carries the user's history."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from twintide.config import Deployment

History = Literal["as-requested", "as-of-version"]


@dataclass(frozen=True)
class Setup:
    """What a policy works with."""

    deployment: Deployment
    history: History = "as-requested"


Change = Callable[[Setup], Setup]
"""The same with something declared otherwise; equal where that is so already. Raises Refused where
the rest of the declaration does not allow it.
"""
