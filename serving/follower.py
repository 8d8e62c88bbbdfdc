"""Follow what is live: when the state file names another version, load it whole, then switch.

Requests see one reference, which changes in one step, when the new version has been verified and
has answered. Whatever goes wrong with a new version, the old one stays and the reason is shown.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from publisher import registry
from publisher.reader import load_version
from serving.blocked import BlockedItems, stamp
from serving.lately import LatelyClicked
from serving.popular import Popular, RecentClicks
from serving.request import RecommendRequest
from serving.retriever import Retriever
from serving.watch import Watch, check_answers, failing
from twintide.clock import Clock
from twintide.errors import Corrupt, Refused, Retryable, TwintideError
from twintide.keys import NO_KEYS
from twintide.telemetry import get_log
from twintide.verified import Verified
from twintide.versions import STATE, read_state, read_version_manifest

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
    rollbacks: int = 0
    """How often this process went back from a version that failed."""


@dataclass(frozen=True)
class Unfit:
    """A version that this process has gone back from alone, and that is live all the same."""

    version: str
    why: str


class Follower:
    """Keeps a retriever for the live version. `look` is one look; `run` looks until `stop`."""

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock,
        max_k: int,
        poll_seconds: float,
        clicks: RecentClicks | None = None,
        lately: LatelyClicked | None = None,
        errors_above: float | None = None,
    ) -> None:
        """With `clicks`, what is popular is answered with until there is a version; `lately` is for
        users of whom nothing is known; `errors_above`: from a version of whose answers a larger
        share fails it goes back.
        """
        self.standing = Standing(retriever=None)
        self.blocked = BlockedItems(root)
        self.popular: Popular | None = None
        self._clicks = clicks
        self._lately, self._clicked_lately = lately, NO_KEYS
        self._errors_above = errors_above
        self.watch = Watch(None, above=None)
        self._unfit: Unfit | None = None
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
        self._beside: list[Callable[[], None]] = []

    @property
    def problem(self) -> str | None:
        """What keeps it from serving what is live, or from leaving out what is blocked."""
        return self.standing.problem or self.blocked.problem

    def answering(self) -> Retriever | Popular:
        """What to answer with; a request asks once. Raises Retryable where there is nothing."""
        return self.standing.retriever or self.popular or self.retriever()

    @property
    def is_ready(self) -> bool:
        """Whether there is something to answer with."""
        return self.standing.retriever is not None or self.popular is not None

    @property
    def waits(self) -> bool:
        """Whether an answer waits for another machine: then others must not wait for it."""
        retriever = self.standing.retriever
        return retriever is not None and retriever.version.index.is_elsewhere

    def retriever(self) -> Retriever:
        """Of the version that is served. Raises Retryable before the first one."""
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
        looks = [
            self._look_at_blocked,
            self._look_at_clicks,
            self._look_at_the_last_hour,
            *self._beside,
        ]
        beside = [
            threading.Thread(target=self._again, args=(look,), name="follower beside", daemon=True)
            for look in looks
        ]
        for each in beside:
            each.start()
        self._again(self._look_at_versions)
        for each in beside:
            each.join()

    def beside(self, look: Callable[[], None]) -> None:
        """While it runs, do this again and again too. It must not raise."""
        self._beside.append(look)

    def _again(self, look: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            look()
            self._stopping.wait(self._poll_seconds)

    def stop(self) -> None:
        """End `run` soon."""
        self._stopping.set()

    def look(self) -> None:
        """Look once at what is blocked, at the state file, and at clicks where nothing is live."""
        self._look_at_blocked()
        self._look_at_versions()
        self._look_at_clicks()
        self._look_at_the_last_hour()

    def _look_at_blocked(self) -> None:
        try:
            if self.blocked.look():
                self._leave_out()
        except Exception:  # nor may one end this
            log.exception("blocked_not_left_out")

    def _look_at_clicks(self) -> None:
        """Until there is a version; from then on they are let go."""
        if self._clicks is None:
            return
        if self.standing.retriever is not None:
            self._clicks = self.popular = None
            return
        try:
            found = self._clicks.look() if self.blocked.is_known else None
        except Exception:  # what was found before stands
            log.exception("clicks_not_counted")
            return
        if found is not None and len(found.items):
            with self._standing_changes:
                self.popular = found.without(self.blocked.keys)

    def _look_at_the_last_hour(self) -> None:
        try:
            found = self._lately.look() if self._lately else None
        except Exception:  # what was found before stands
            log.exception("clicks_not_counted")
            return
        if found is not None:
            with self._standing_changes:
                self._clicked_lately = found
                now = self.standing
                if now.retriever is not None:
                    self.standing = replace(now, retriever=now.retriever.beside(found))

    def _look_at_versions(self) -> None:
        """Load and switch where the state file names another version."""
        try:
            if self._is_due():
                self._follow()
            elif self.watch.fails():
                self._go_back(self.watch.version or "", self.watch.says(), self.watch.examples)
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
        if self._unfit is not None and self._unfit.version != live:
            self._unfit = None  # who makes it live again means it
        if live is None:
            self._settle("no version is live")
        elif serving is not None and serving.name == live:
            self._settle(None)
        elif serving is not None and self._unfit is not None and self._unfit.version == live:
            self._settle(self._unfit.why)
        else:
            self._switch_or_go_back(live)

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
            if self.popular is not None:
                self.popular = self.popular.without(self.blocked.keys)

    def _switch_or_go_back(self, live: str) -> None:
        """A version that cannot answer, twice, is gone back from; not one whose manifest is not
        understood, which a newer program may have made.
        """
        try:
            self._switch(live)
        except Corrupt as error:
            if self._errors_above is None or not self._attempts:
                raise
            read_version_manifest(self._root, live)
            if not self._go_back(live, error.message, ()):
                raise

    def _go_back(self, bad: str, why: str, examples: Sequence[RecommendRequest]) -> bool:
        """Serve what was live before a version that fails, and say so to all; whether it does.
        Nothing changes where the one before fails as well: then it is not the version.
        """
        self.watch.begin_anew()
        try:
            target = registry.way_back(read_state(self._root), bad)
            before = self._loaded(target)
            if 2 * failing(before, examples) > len(examples):
                raise Refused(f"version {target} fails the same requests")
        except TwintideError as error:
            log.warning("version_fails", version=bad, reason=why, not_left_since=error.message)
            return False
        self._put_in_place(before)
        recorded = self._record(bad, why)
        if not recorded:
            self._unfit = Unfit(bad, f"version {bad} is live, and is not served: {why}")
        self._seen = "not looked yet"  # at what is live now: the next look says what is not served
        log.warning("version_rolled_back", version=bad, before=target, reason=why, said=recorded)
        with self._standing_changes:
            self.standing = replace(self.standing, rollbacks=self.standing.rollbacks + 1)
        return True

    def _record(self, bad: str, why: str) -> bool:
        """Let all servers and the publisher know; whether this one was the first. Where it cannot,
        this process alone does not serve it.
        """
        reason = _one_line(f"by itself: {why}")
        try:
            registry.roll_back_from(self._root, bad, reason=reason, clock=self._clock)
        except Refused:  # another server was first
            return False
        except TwintideError as error:
            log.warning("rollback_not_recorded", version=bad, reason=str(error))
            return False
        return True

    def _loaded(self, name: str) -> Retriever:
        """Verified, replayed, and tried; a file that was served before is not hashed again."""
        serving = self.standing.retriever
        if serving is not None and serving.name == name:
            return serving
        version = load_version(self._root, name, verified=self._verified)
        retriever = Retriever(version, clock=self._clock, max_k=self._max_k)
        retriever = retriever.without(self.blocked.keys)
        check_answers(retriever)
        return retriever

    def _switch(self, live: str) -> None:
        if not self.blocked.is_known:  # an item that is against the law must not come up first
            self._seen = "not looked yet"  # when it is known, nothing is waited for
            raise Retryable(f"it is not known what is blocked: {self.blocked.problem}")
        before = self.standing.retriever
        retriever = self._loaded(live)  # 1. warm, and it answers
        self._put_in_place(retriever)  # 2. one reference changes
        log.info("version_switched", version=live, before=before.name if before else None)

    def _put_in_place(self, retriever: Retriever) -> None:
        """Serve it, without what was blocked while it was loaded."""
        self._attempts = self._looks_to_skip = 0
        with self._standing_changes:
            now = self.standing
            retriever = retriever.without(self.blocked.keys).beside(self._clicked_lately)
            self.watch = Watch(retriever.name, above=self._errors_above)
            self.standing = replace(
                now, retriever=retriever, problem=None, switches=now.switches + 1
            )

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


def _one_line(reason: str) -> str:
    """As the history of the state takes it."""
    return " ".join("".join(c if c.isprintable() else " " for c in reason).split())[:500]
