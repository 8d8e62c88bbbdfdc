"""What every section is, and values that several of them hold."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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
