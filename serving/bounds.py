"""How much a request, or a batch of them, may ask for, and which names it may use."""

from collections.abc import Iterable, Sequence

from serving.request import RecommendRequest
from twintide.errors import Refused

MOST_EXPLAINED = 100
"""Items of one answer."""

MAX_TOGETHER = 10
"""Times `max_k`: the items of all requests of a batch, whose answer is in memory as a whole."""


def check_request(request: RecommendRequest, *, max_k: int) -> None:
    """Raises Refused where it asks for too many items."""
    wanted = request.wanted(max_k=max_k)
    if wanted > max_k:
        raise Refused(
            f"k is {wanted}; this server gives at most {max_k}",
            hint="ask for fewer, or raise serving.max_k in the configuration",
        )
    if request.explain and wanted > MOST_EXPLAINED:
        raise Refused(
            f"k is {wanted}; at most {MOST_EXPLAINED} items are explained",
            hint=f"k: {MOST_EXPLAINED}, or leave `explain` out",
        )


def check_names(names: Iterable[str], known: Iterable[str], *, says: str, there: str) -> None:
    """Raises Refused where a name is not known: `says` who does not, `there` which there are."""
    if not names:
        return
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise Refused(
            f"{says} {', '.join(map(repr, unknown))[:200]}",
            hint=f"{there}: {', '.join(known) or 'none'}",
        )


def check_together(requests: Sequence[RecommendRequest], *, max_k: int) -> None:
    """Raises Refused where those that are answered at once ask for too many items in all."""
    each_asks = [each.wanted(max_k=max_k) for each in requests]
    asked = [each for each in each_asks if each <= max_k]
    if sum(asked) > MAX_TOGETHER * max_k:
        raise Refused(
            f"the batch asks for {sum(asked):,} items; this server gives at most "
            f"{MAX_TOGETHER * max_k:,} at once",
            hint="ask for fewer by `k`, or in several batches",
        )
