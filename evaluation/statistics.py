"""Statistics of items between runs: their vectors are made anew, and nothing is learnt."""

from dataclasses import dataclass
from datetime import datetime

from evaluation.live import Live
from publisher import samples
from publisher.candidates import Candidates
from publisher.reader import LoadedVersion
from twintide import listings
from twintide.clock import HeldClock, to_unix_ms
from twintide.config import Deployment
from twintide.derived.state import DerivedState


@dataclass
class Statistics:
    """The candidate side of what is live, kept from tick to tick."""

    deployment: Deployment
    _candidates: Candidates | None = None

    def refreshed(self, live: Live, state: DerivedState, now: datetime) -> Live:
        """The same model, over all items that `state` knows of, with their statistics of now."""
        version, own = live.version, self.deployment
        items, index = self._of(version).indexed(
            state.catalogue_table(state.statistics_instant(now)),
            own.publishing,
            listing=listings.refreshed(
                own.items_dir, own.items, own.events, own.model, clock=HeldClock(now)
            ),
            asked=version.model.query_vectors(
                samples.queries(version.model, version.manifest.events, version.memories)
            ),
        )
        return Live(version, items.keys, index, to_unix_ms(now))

    def _of(self, version: LoadedVersion) -> Candidates:
        """Opened once for each checkpoint."""
        name = version.manifest.checkpoint
        if self._candidates is None or self._candidates.manifest.name != name:
            folder = self.deployment.checkpoints_dir / name
            self._candidates = Candidates.of(folder, vectors_dir=self.deployment.vectors_dir)
        return self._candidates
