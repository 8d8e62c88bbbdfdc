"""What every section is, and values that several of them hold."""

import os
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from twintide.errors import Refused

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _variable(name: str) -> str:
    """What is wrong is not shown: it may be the secret itself."""
    if not _VARIABLE.fullmatch(name):
        raise ValueError(
            "must be the name of an environment variable, such as TWINTIDE_TOKEN, "
            "never the secret itself"
        )
    return name


Variable = Annotated[str, AfterValidator(_variable)]
Text = Annotated[str, AfterValidator(_text)]
Share = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """Frozen, strict, and no unknown keys: every section below is one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def secret_in(variable: str | None, *, key: str, what: str) -> str | None:
    """The secret out of the environment variable that `key` names; `what` it is, for whoever has
    not set it. None where none is named. Raises Refused where the variable is not set.
    """
    if variable is None:
        return None
    secret = os.environ.get(variable)
    if not secret:
        raise Refused(
            f"the environment variable {variable} is not set",
            hint=f"{key} names the variable that holds the {what}",
        )
    return secret
