"""`publishing:`, versions and the gate."""

from typing import Literal

from pydantic import PositiveInt

from twintide.config.section import Config, Share


class GateConfig(Config):
    """What a version must show before it may be promoted."""

    min_events: PositiveInt = 200
    """With fewer newer clicks than this, recall is not judged (and the gate says so)."""

    max_events: PositiveInt = 5_000
    """The newest clicks that are looked at."""

    k: PositiveInt = 100
    """Recall@k is what is compared."""

    max_recall_drop_ratio: Share = 0.2
    """A version whose recall falls by more than this share of the live version's is refused."""

    min_items_ratio: Share = 0.5
    """A version with fewer than this share of the live version's items is refused."""


class PublishingConfig(Config):
    """Versions and the item index."""

    index: Literal["auto", "flat", "ivf"] = "auto"
    """`auto`: exact (flat) up to 50,000 items, an inverted file above."""

    nprobe: PositiveInt = 64
    """Lists that an inverted file looks into."""

    keep_versions: PositiveInt = 24
    """Versions that gc keeps of those that were live and that a rollback can go back to. Of the
    others (refused, held, rolled back from) it keeps the newest three.
    """

    filters: tuple[str, ...] = ()
    """Event columns by which a request may filter items, such as [category]. Each is read by a
    `sparse` or `varlen` feature of the candidate: a filter and the model mean the same by it.
    """

    gate: GateConfig = GateConfig()
