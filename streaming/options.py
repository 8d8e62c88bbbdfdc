"""An option of ingest, said once: for `twintide ingest` and for `python -m streaming`."""

from typing import Annotated

import typer

UntilCaughtUp = Annotated[
    bool, typer.Option("--until-caught-up", help="Read to the end of the log, then end.")
]
