"""A night and the hours after it, as training leaves them: rows in stores, of which an hour's
checkpoint holds those that it touched.
"""

from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from tests.publisher import checkpoint_fixture as made
from twintide.checkpoints import (
    CheckpointManifest,
    checkpoint_name,
    checkpoint_names,
    open_checkpoint,
    publish_checkpoint,
)
from twintide.clock import to_unix_ms
from twintide.config import Deployment
from twintide.derived.clicks import Events
from twintide.derived.state import DerivedState, stateless
from twintide.keys import keys_of
from twintide.model.two_tower import TwoTower
from twintide.ragged import Encoded, one_id_each
from twintide.rowstore import Parts

Numbers = npt.NDArray[np.int64]
NOBODY = np.zeros(0, np.int64)


def night(
    deployment: Deployment, items: Numbers, *, sequence: int = 1, leaving: Numbers = NOBODY
) -> CheckpointManifest:
    """Of so many items, each clicked by somebody, a week before; those leaving have no row."""
    state = DerivedState.empty(deployment)
    rng = np.random.default_rng(sequence)
    _click(deployment, state, rng.integers(0, made.USERS, len(items)), items, hour=-24 * 7)
    model = made.model_of(deployment, items)
    _take_rows(model, leaving)
    return _published(deployment, model, state, kind="nightly", sequence=sequence, parent=None)


def hour(
    deployment: Deployment,
    users: Numbers,
    items: Numbers,
    *,
    moved_by: float = 0.3,
    categories: Numbers = NOBODY,
    unclicked: Numbers = NOBODY,
    leaving: Numbers = NOBODY,
) -> CheckpointManifest:
    """These users click on these items, whose rows move by so much, as those of the users do, and
    of these categories, and of these items that nobody clicks; those leaving lose their rows.
    """
    root = deployment.checkpoints_dir
    before = open_checkpoint(root, max(checkpoint_names(root), key=_number))
    model = TwoTower.from_arrays(
        deployment.model,
        before.parts.arrays,
        device=torch.device("cpu"),
        stores=before.parts.stores,
    )
    state, sequence = before.state(deployment.model), before.manifest.sequence + 1
    _click(deployment, state, users, items, hour=sequence)
    rng = np.random.default_rng(sequence)
    of_tables = {"user": users, "item": np.append(items, unclicked), "category": categories}
    for name, keys in of_tables.items():
        if name not in model.tables or not len(keys):
            continue
        table = model.tables[name]
        table.grow(keys_of(pa.array(keys)))
        rows = np.unique(table.rows_of(keys_of(pa.array(keys))))
        weights, _ = table.touch(rows)
        moves = rng.normal(scale=moved_by / 4, size=(len(rows), table.width))
        weights[torch.from_numpy(rows)] += torch.from_numpy(moves.astype(np.float32))
    _take_rows(model, leaving)
    return _published(
        deployment, model, state, kind="hourly", sequence=sequence, parent=before.manifest
    )


def _take_rows(model: TwoTower, items: Numbers) -> None:
    table = model.tables["item"]
    table._rows.remove(np.sort(table.rows_of(keys_of(pa.array(items)))))


def _number(name: str) -> int:
    return int(name[-6:])


def _click(
    deployment: Deployment, state: DerivedState, users: Numbers, items: Numbers, *, hour: int
) -> None:
    unit_ms = np.full(len(items), to_unix_ms(made.NOON + timedelta(hours=hour)))
    keys = keys_of(pa.array(items))
    said: Encoded = {"item": one_id_each(keys)}
    said["category"] = one_id_each(keys_of(pa.array(items % made.CATEGORIES)))
    said["tags"] = made.tags_of(items)
    features = stateless(deployment.model.candidate)
    events = Events(keys_of(pa.array(users)), keys, unit_ms + np.arange(len(items)) % 1000, unit_ms)
    state.begin(events, None)
    state.add(
        events,
        np.ones(len(items), np.bool_),
        ids=pa.array(items),
        attributes={each.name: said[each.name] for each in features},
    )


def _published(
    deployment: Deployment,
    model: TwoTower,
    state: DerivedState,
    *,
    kind: str,
    sequence: int,
    parent: CheckpointManifest | None,
) -> CheckpointManifest:
    name = checkpoint_name(kind, sequence)  # type: ignore[arg-type]
    at = made.NOON + timedelta(hours=sequence)
    manifest = made.plain_manifest(
        deployment,
        name,
        kind=kind,
        parent=parent.name if parent else None,
        base=parent.base if parent else name,
        position={0: sequence},
        newest_event_at=at,
        as_of=at,
    )
    parts = Parts(model.stores(), model.small_arrays()).and_also(state.parts())
    root = deployment.checkpoints_dir
    return publish_checkpoint(root, manifest, parts, parents=root)
