"""The options of a daemon that answers those who watch it, said once for all of them."""

from typing import Annotated

import typer

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
