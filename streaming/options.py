"""The options of ingest, said once: for `twintide ingest` and for `python -m streaming`."""

from typing import Annotated

import typer

UntilCaughtUp = Annotated[
    bool, typer.Option("--until-caught-up", help="Read to the end of the log, then end.")
]
MetricsPort = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help="Answer /metrics, /livez and /readyz at this port."),
]
MetricsHost = Annotated[
    str,
    typer.Option(
        help="The address for these: 0.0.0.0 lets other machines scrape, as from a container. "
        "They can read counts, and change nothing."
    ),
]
