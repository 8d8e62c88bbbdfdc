"""The candidate tower of a checkpoint, for items as they are known at another moment than its own.

Statistics of items move on while nothing is learnt: their vectors can be made anew without a run.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch

from publisher.catalogue import Items, items_of
from publisher.index.backend import Wanted
from publisher.index.backends import backend_called
from publisher.index.searched import ItemIndex, Vectors
from twintide.checkpoints import CheckpointManifest, open_checkpoint
from twintide.config import PublishingConfig
from twintide.listed import Listing
from twintide.model.two_tower import TwoTower, weights_in
from twintide.vectorstore import open_read


@dataclass(frozen=True)
class Candidates:
    """A checkpoint's candidate side."""

    manifest: CheckpointManifest
    model: TwoTower

    @classmethod
    def of(cls, folder: Path, *, vectors_dir: Path) -> "Candidates":
        """Of the checkpoint in `folder`; its fixed vectors lie in `vectors_dir`."""
        checkpoint = open_checkpoint(folder.parent, folder.name)
        manifest, parts = checkpoint.manifest, checkpoint.parts
        model = TwoTower.from_arrays(
            manifest.model,
            weights_in(parts.arrays),
            device=torch.device("cpu"),
            vectors=open_read(vectors_dir, manifest.model, manifest.vectors, who=manifest.name),
            stores=parts.stores,
        )
        return cls(manifest, model)

    def indexed(
        self,
        catalogue: pa.Table,
        config: PublishingConfig,
        *,
        listing: Listing | None,
        asked: Vectors,
    ) -> tuple[Items, ItemIndex]:
        """The items of a catalogue, and their index; recall is measured on `asked`."""
        items = items_of(self.manifest, catalogue, listing)
        vectors = self.model.candidate_vectors(items.encoded)
        wanted = Wanted(items.keys, vectors, asked, config)
        return items, backend_called("faiss").index(wanted, None).index
