"""`folders:`, where each kind of artifact lies."""

from pathlib import Path

from twintide.config.section import Config
from twintide.listings import items_folder
from twintide.places import OwnPlace
from twintide.shards import ledger_folder
from twintide.vectorstore import vectors_folder


class FoldersConfig(Config):
    """Where each kind of artifact lies, where that is not its folder below `data_dir`."""

    shards: OwnPlace | None = None
    """Shards, as `shards` below `data_dir`."""

    slices: OwnPlace | None = None
    """Slices, as `slices` below `data_dir`."""

    checkpoints: OwnPlace | None = None
    """Checkpoints, as `checkpoints` below `data_dir`."""

    versions: OwnPlace | None = None
    """Versions and what is live, as `versions` below `data_dir`."""

    def below(self, data_dir: Path) -> dict[str, Path]:
        """Where each kind lies; the ledger of the shards, the vectors and the items of the versions
        lie beside them.
        """
        places = {name: getattr(self, name) or data_dir / name for name in type(self).model_fields}
        beside = {
            "ledger": ledger_folder(places["shards"]),
            "vectors": vectors_folder(places["versions"]),
            "items": items_folder(places["versions"]),
        }
        return places | beside
