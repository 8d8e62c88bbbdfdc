"""Whether a version answers: what it is tried with before anybody has it, and how often it fails
those who ask.
"""

import math
from collections.abc import Callable, Iterable

from serving.answer import Answer
from serving.request import RecommendRequest
from serving.retriever import Retriever
from twintide.errors import Corrupt, Refused, Retryable

FEWEST = 100
"""Answers, before which nothing is said of a version."""

LATEST = 1_000
"""About so many answers count: when there are twice as many, each counts half."""

EXAMPLES = 20
"""Requests that failed last, with which another version is tried."""

TRIED = (
    RecommendRequest(user_id=None, k=1),
    RecommendRequest(user_id=None),
    RecommendRequest(user_id=None, exact=True),
)


class Watch:
    """Of the answers of one version; of one process. Threads may add to it at once: a count that
    is lost among hundreds changes nothing.
    """

    def __init__(self, version: str | None, *, above: float | None) -> None:
        """`above`: the share of failed answers from which it fails; None: whatever happens."""
        self.version = version
        self._above = above
        self._asked = 0.0
        self._failed = 0.0
        self.examples: list[RecommendRequest] = []

    def over(
        self, answer: Callable[[RecommendRequest], Answer], request: RecommendRequest
    ) -> Answer:
        """What `answer` makes of a request. Who asks for what cannot be is not counted, nor is who
        comes too early; whatever else is raised has failed.
        """
        try:
            made = answer(request)
        except (Refused, Retryable):
            raise
        except Exception:
            self.failed(request)
            raise
        self.well()
        return made

    def well(self) -> None:
        """An answer was made, or refused for what was asked."""
        self._asked += 1

    def failed(self, request: RecommendRequest) -> None:
        """An answer failed for no fault of the request, as far as anybody knows."""
        self._asked += 1
        self._failed += 1
        self.examples = [*self.examples[1 - EXAMPLES :], request]

    def fails(self) -> bool:
        """Whether so many of the latest answers failed."""
        if self._asked >= 2 * LATEST:
            self._asked, self._failed = self._asked / 2, self._failed / 2
        if self._above is None or self._asked < FEWEST:
            return False
        return self._failed > self._above * self._asked

    def says(self) -> str:
        """Of an operator's interest."""
        share = self._failed / max(self._asked, 1)
        return f"{share:.0%} of its last {self._asked:,.0f} answers failed"

    def begin_anew(self) -> None:
        """Nothing that was counted counts any more."""
        self._asked = self._failed = 0.0


def check_answers(retriever: Retriever) -> None:
    """Raises Corrupt where a version does not answer the plainest requests with items and finite
    scores, Retryable where its index is away, which says nothing of it.
    """
    for request in TRIED:
        try:
            answer = retriever.answer(request)
        except Refused as error:
            raise Corrupt(f"version {retriever.name} refuses everybody: {error.message}") from error
        except (Corrupt, Retryable):
            raise
        except Exception as error:
            raise Corrupt(f"version {retriever.name} fails its smoke test: {error!r}") from error
        if not all(map(math.isfinite, answer.scores)):
            raise Corrupt(f"version {retriever.name} answers with scores that are no numbers")


def failing(retriever: Retriever, requests: Iterable[RecommendRequest]) -> int:
    """How many of these requests a version cannot answer."""
    return [_fails(retriever, each) for each in requests].count(True)


def _fails(retriever: Retriever, request: RecommendRequest) -> bool:
    try:
        retriever.answer(request)
    except Refused:
        return False
    except Exception:  # noqa: BLE001  whatever it is
        return True
    return False
