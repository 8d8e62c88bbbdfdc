"""Follow what is live: when the state file names another version, load it whole, then switch.

Requests see one reference, which changes in one step, when the new version has been verified and
has answered. Whatever goes wrong with a new version, the old one stays and the reason is shown.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from publisher.reader import load_version
from serving.blocked import BlockedItems, stamp
from serving.request import RecommendRequest
from serving.retriever import Retriever
from twintide.clock import Clock
from twintide.errors import Retryable, TwintideError
from twintide.telemetry import get_log
from twintide.verified import Verified
from twintide.versions import STATE, read_state

LONGEST_WAIT_SECONDS = 60.0
"""Between two attempts to load a version that could not be loaded."""

log = get_log("serving")


@dataclass(frozen=True)
class Standing:
    """Where a follower stands: what it serves, and what keeps it from serving what is live."""

    retriever: Retriever | None
    problem: str | None = "no version was looked for yet"
    switches: int = 0
    failures: int = 0


class Follower:
    """Keeps a retriever for the live version. `look` is one look; `run` looks until `stop`."""

    def __init__(self, root: Path, *, clock: Clock, max_k: int, poll_seconds: float) -> None:
        self.standing = Standing(retriever=None)
        self.blocked = BlockedItems(root)
        self._root = root
        self._clock = clock
        self._max_k = max_k
        self._poll_seconds = poll_seconds
        self._seen: object = "not looked yet"
        self._looks_to_skip = 0
        self._attempts = 0
        self._stopping = threading.Event()
        self._standing_changes = threading.Lock()
        self._verified = Verified()

    @property
    def problem(self) -> str | None:
        """What keeps it from serving what is live, or from leaving out what is blocked."""
        return self.standing.problem or self.blocked.problem

    def retriever(self) -> Retriever:
        """What to answer with; a request asks once. Raises Retryable before the first version."""
        retriever = self.standing.retriever
        if retriever is None:
            raise Retryable(
                f"no version is loaded yet: {self.standing.problem}",
                hint="`twintide publish -c FILE` makes one live",
            )
        return retriever

    def run(self) -> None:
        """Look again and again, until `stop`; at what is blocked while a version is loaded too."""
        self._look_at_blocked()
        beside = threading.Thread(
            target=self._again, args=(self._look_at_blocked,), name="blocked", daemon=True
        )
        beside.start()
        self._again(self._look_at_versions)
        beside.join()

    def _again(self, look: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            look()
            self._stopping.wait(self._poll_seconds)

    def stop(self) -> None:
        """End `run` soon."""
        self._stopping.set()

    def look(self) -> None:
        """Look once at what is blocked and at the state file."""
        self._look_at_blocked()
        self._look_at_versions()

    def _look_at_blocked(self) -> None:
        try:
            if self.blocked.look():
                self._leave_out()
        except Exception:  # nor may one end this
            log.exception("blocked_not_left_out")

    def _look_at_versions(self) -> None:
        """Load and switch where the state file names another version."""
        try:
            if self._is_due():
                self._follow()
        except Exception as error:  # noqa: BLE001  no fault of a version or a disk may end this
            self._fail(error)

    def _is_due(self) -> bool:
        """Whether the state file changed, or a failed attempt has waited long enough."""
        changed = stamp(self._root / STATE)  # before it is read: a change in between is seen next
        if changed == self._seen:
            return self._is_retry_due()
        self._seen, self._attempts = changed, 0
        return True

    def _follow(self) -> None:
        live = read_state(self._root).current
        serving = self.standing.retriever
        if live is None:
            self._settle("no version is live")
        elif serving is not None and serving.name == live:
            self._settle(None)
        else:
            self._switch(live)

    def _settle(self, problem: str | None) -> None:
        """Serve what is served."""
        self._attempts = self._looks_to_skip = 0
        with self._standing_changes:
            self.standing = replace(self.standing, problem=problem)

    def _leave_out(self) -> None:
        """From now on no answer holds what is blocked."""
        with self._standing_changes:
            now = self.standing
            if now.retriever is not None:
                self.standing = replace(now, retriever=now.retriever.without(self.blocked.keys))

    def _switch(self, live: str) -> None:
        if not self.blocked.is_known:  # an item that is against the law must not come up first
            self._seen = "not looked yet"  # when it is known, nothing is waited for
            raise Retryable(f"it is not known what is blocked: {self.blocked.problem}")
        before = self.standing.retriever
        # 1. Verified and replayed; a file that was served before is not hashed again.
        version = load_version(self._root, live, verified=self._verified)
        retriever = Retriever(version, clock=self._clock, max_k=self._max_k)
        retriever = retriever.without(self.blocked.keys)
        retriever.answer(RecommendRequest(user_id=None, k=1))  # 2. warm, and it answers
        self._put_in_place(retriever)  # 3. one reference changes
        log.info("version_switched", version=live, before=before.name if before else None)

    def _put_in_place(self, retriever: Retriever) -> None:
        """Serve it, without what was blocked while it was loaded."""
        self._attempts = self._looks_to_skip = 0
        with self._standing_changes:
            now = self.standing
            retriever = retriever.without(self.blocked.keys)
            self.standing = Standing(retriever, None, now.switches + 1, now.failures)

    def _fail(self, error: Exception) -> None:
        """Keep what is served; try again at the next change, or after a wait that doubles."""
        self._attempts += 1
        wait_seconds = min(2.0 ** (self._attempts - 1), LONGEST_WAIT_SECONDS)
        self._looks_to_skip = round(wait_seconds / self._poll_seconds)
        problem = str(error) if isinstance(error, TwintideError) else repr(error)
        with self._standing_changes:
            now = self.standing
            self.standing = replace(now, problem=problem, failures=now.failures + 1)
        log.error(
            "version_not_loaded",
            reason=problem,
            still_serving=now.retriever.name if now.retriever else None,
            next_try_seconds=wait_seconds,
        )

    def _is_retry_due(self) -> bool:
        if not self._attempts:
            return False
        self._looks_to_skip -= 1
        return self._looks_to_skip <= 0
