"""What a report says of the data that it is about."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.gaps import gap_facts, gaps_in, outages_in
from evaluation.span import sorted_ms
from twintide.clock import from_unix_ms, iso
from twintide.config import Deployment
from twintide.datafile import null_columns
from twintide.errors import Refused


def data_facts(deployment: Deployment, events: pa.Table, *, path: Path) -> dict[str, Any]:
    """What report.json says of the data. Raises Refused where there is no click in it."""
    schema = deployment.events
    positives = pc.sum(schema.is_click(events)).as_py() or 0
    if not positives:
        raise Refused(
            f"{path} holds {len(events):,} events, but no click"
            + (f": none has {schema.positive}" if schema.positive else ""),
            hint="`events.positive` says which events are clicks",
        )
    at_ms = sorted_ms(events, deployment)
    return {
        "path": str(path),
        "events": len(events),
        "positives": positives,
        "users": pc.count_distinct(events[schema.user]).as_py(),
        "items": pc.count_distinct(events[schema.item]).as_py(),
        "first_at": iso(from_unix_ms(int(at_ms[0]))),
        "last_at": iso(from_unix_ms(int(at_ms[-1]))),
        "hours": len(np.unique(at_ms // 3_600_000)),
        "gaps": gap_facts([*{*gaps_in(at_ms), *outages_in(at_ms)}]),
        "null_columns": null_columns(events),
    }
