"""What an evaluation was asked: a stopped one goes on only where the same is asked again."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluation.lanes import Scoring
from evaluation.policies import Policy
from twintide import __version__
from twintide.clock import iso
from twintide.config import Deployment


def question(
    deployment: Deployment, policies: Sequence[Policy], scoring: Scoring, data: Path
) -> dict[str, Any]:
    """All that figures depend on, as JSON has it. A data file is known by its size and time."""
    files = sorted(data.rglob("*")) if data.is_dir() else [data]
    span = {name: iso(at) for name, at in asdict(scoring.span).items()}
    return {
        "program": __version__,
        "data": [[str(each), each.stat().st_size, each.stat().st_mtime_ns] for each in files],
        "deployment": deployment.model_dump(mode="json"),
        "policies": [each.name for each in policies],
        "span": span,
        "history": scoring.history,
        "sample": scoring.sample,
        "seeds": list(scoring.seeds),
    }
