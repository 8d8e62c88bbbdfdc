"""All sections of a deployment together."""

import hashlib
import json
from pathlib import Path

from twintide.config.datafile import DataFileConfig
from twintide.config.folders import FoldersConfig
from twintide.config.kafka import KafkaConfig
from twintide.config.publishing import PublishingConfig
from twintide.config.section import Config
from twintide.config.serving import ServingConfig
from twintide.config.shards import ShardsConfig
from twintide.config.training import TrainingConfig
from twintide.events import EventSchema
from twintide.itemsource import ItemsConfig
from twintide.listings import items_folder
from twintide.modelspec import ModelSpec
from twintide.places import Place
from twintide.shards import ledger_folder
from twintide.vectorstore import vectors_folder


class Deployment(Config):
    """All of it. `data_dir` holds shards/, slices/, checkpoints/ and versions/."""

    data_dir: Place = Path("data")
    """Relative paths start at the folder of the configuration file."""

    folders: FoldersConfig = FoldersConfig()
    kafka: KafkaConfig = KafkaConfig()
    events: EventSchema
    shards: ShardsConfig = ShardsConfig()
    items: ItemsConfig = ItemsConfig()
    model: ModelSpec
    training: TrainingConfig = TrainingConfig()
    publishing: PublishingConfig = PublishingConfig()
    serving: ServingConfig = ServingConfig()
    data_file: DataFileConfig = DataFileConfig()

    @property
    def shards_dir(self) -> Path:
        """Folder of shards and nothing else; owned by streaming."""
        return self.folders.below(self.data_dir)["shards"]

    @property
    def ledger_dir(self) -> Path:
        """Beside the shards, for all else of ingest: claims, watermarks, quarantine."""
        return ledger_folder(self.shards_dir)

    @property
    def slices_dir(self) -> Path:
        """Folder of slices; owned by the trainer."""
        return self.folders.below(self.data_dir)["slices"]

    @property
    def checkpoints_dir(self) -> Path:
        """Folder of checkpoints; owned by the trainer."""
        return self.folders.below(self.data_dir)["checkpoints"]

    @property
    def versions_dir(self) -> Path:
        """Folder of versions and the state of what is live; owned by the publisher."""
        return self.folders.below(self.data_dir)["versions"]

    @property
    def vectors_dir(self) -> Path:
        """Beside the versions: stores of fixed vectors, made by the trainer, mapped by servers."""
        return vectors_folder(self.versions_dir)

    @property
    def items_dir(self) -> Path:
        """Beside the versions: what the source of items said, made by training and publishing."""
        return items_folder(self.versions_dir)

    def with_model(self, model: ModelSpec) -> "Deployment":
        """The same but for the model."""
        return self.model_copy(update={"model": model})

    def learning_hash(self) -> str:
        """sha256 of all that shapes what is learnt: events, model, training. Part of a lineage. It
        does not depend on where a file of vectors lies; a manifest names its sha256 apart.
        """
        parts = self.model_dump(mode="json", include={"events", "training"})
        parts["model"] = self.model.placeless().identity()
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
