"""Fixed vectors by id: both towers see them, nobody changes them, and whatever names them finds
them.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from publisher import gc
from publisher.publish import publish
from publisher.reader import load_version
from publisher.registry import check_servable, rollback
from serving.follower import Follower
from serving.request import RecommendRequest
from serving.retriever import Retriever
from tests.trainer.conftest import Line, MakeLine, at
from trainer.epoch import Rows
from trainer.rebuild import rebuild
from twintide.clock import HeldClock
from twintide.errors import Corrupt, Refused
from twintide.features.columns import column_name
from twintide.keys import keys_of
from twintide.model.two_tower import TwoTower
from twintide.ragged import Ids
from twintide.vectorstore import make_stores, open_stores, store_names

WIDTH = 6
KNOWN = 250
"""Of the 300 items that are clicked; the rest have no vector."""


def vectors_of_items(*, seed: int = 1, width: int = WIDTH) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(KNOWN, width)).astype(np.float32)


def write(path: Path, vectors: npt.NDArray[np.float32]) -> Path:
    """Items 0, 1, …; replaced as it should be: another file, renamed over the old one."""
    rows = pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1])
    pq.write_table(pa.table({"item_id": np.arange(len(vectors)), "title": rows}), path)
    return path


def declared(path: Path) -> dict[str, Any]:
    """In both towers: by item, by list, and over the history."""
    return {
        "model": {
            "tables": {
                "title": {"vectors": str(path), "id_column": "item_id", "vector_column": "title"}
            },
            "query": [
                {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"},
                {"kind": "history", "name": "read", "table": "title", "length": 5},
            ],
            "candidate": [
                {"kind": "sparse", "name": "title", "column": "item_id", "table": "title"},
                {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"},
                {
                    "kind": "varlen",
                    "name": "topics",
                    "column": "topics",
                    "table": "title",
                    "pooling": "sum",
                },
            ],
        }
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "titles.parquet", vectors_of_items())


@pytest.fixture
def line(make_line: MakeLine, file: Path) -> Line:
    return make_line(declared(file))


def published(line: Line, hour: int = 3) -> str:
    outcome = publish(line.deployment, clock=HeldClock(at(1, hour)))
    assert outcome.promoted, outcome.why
    return outcome.version


def naive(keys: Ids, row: int, *, mean: bool) -> npt.NDArray[np.float64]:
    """The pool of one row, by a plain loop over the file."""
    by_key = dict(
        zip(keys_of(pa.array(np.arange(KNOWN))).tolist(), vectors_of_items(), strict=True)
    )
    own = keys.keys[keys.offsets[row] : keys.offsets[row + 1]].tolist()
    total = np.zeros(WIDTH)
    for key in own:
        total += by_key.get(key, np.zeros(WIDTH))
    return total / max(len(own), 1) if mean else total


def test_vectors_reach_both_towers_as_a_plain_loop_over_the_file_says(line: Line) -> None:
    """One id, the sum of a list, the mean of a history; an id without a vector counts as zero."""
    checkpoint = line.night(0)
    spec = checkpoint.manifest.model
    stores = open_stores(line.deployment.vectors_dir, checkpoint.manifest.vectors)
    model = TwoTower.from_arrays(
        spec, checkpoint.arrays, device=torch.device("cpu"), vectors=stores
    )
    rows = Rows.of(next(iter(line.slices().values())).read(), spec, name="a slice")

    read = model.pooled(rows.query, model.rows_of(rows.query, "query"), "query")[:, 8:]
    seen = model.pooled(rows.candidate, model.rows_of(rows.candidate, "candidate"), "candidate")

    history, title, topics = rows.query["read"], rows.candidate["title"], rows.candidate["topics"]
    assert isinstance(history, Ids)
    assert isinstance(title, Ids)
    assert isinstance(topics, Ids)
    unknown = ~np.isin(title.keys, keys_of(pa.array(np.arange(KNOWN))))
    assert 0 < unknown.sum() < len(rows)
    for row in range(len(rows)):
        assert np.allclose(read[row], naive(history, row, mean=True), atol=1e-6)
        assert np.allclose(seen[row, :WIDTH], naive(title, row, mean=True), atol=1e-6)
        assert np.allclose(seen[row, -WIDTH:], naive(topics, row, mean=False), atol=1e-5)


@pytest.mark.long
@pytest.mark.promise("T3")
def test_no_line_changes_vectors_and_no_checkpoint_or_version_copies_them(line: Line) -> None:
    """They are no part of what is learnt: a night and an hour have the same store, by its name."""
    night, hour = line.night(0), line.hour(1, 2)
    version = published(line)

    manifest = load_version(line.deployment.versions_dir, version).manifest
    named = [each.manifest.vectors["title"] for each in (night, hour)]
    assert {"user", "item"} == {
        name.split(".")[1] for name in hour.arrays if name.startswith("table.")
    }
    assert named[0] == named[1] == manifest.vectors["title"]
    assert store_names(line.deployment.vectors_dir) == [named[0].name]
    assert not any("title" in name for name in manifest.files)
    assert (named[0].width, named[0].count) == (WIDTH, KNOWN)


def test_a_request_gets_the_vector_that_training_gave_its_click(line: Line) -> None:
    """Recent items pooled over the vectors of a file, unknown ones among them: no skew at all."""
    night = line.night(0)
    version = load_version(line.deployment.versions_dir, published(line, 1))
    items = {int(key): item for item, key in enumerate(keys_of(pa.array(np.arange(400))))}
    users = {int(key): user for user, key in enumerate(keys_of(pa.array(np.arange(300))))}
    table = list(line.slices().values())[-1].read()
    rows = Rows.of(table, version.manifest.model, name="a slice")
    stores = open_stores(line.deployment.vectors_dir, night.manifest.vectors)
    trained = TwoTower.from_arrays(
        version.manifest.model, night.arrays, device=torch.device("cpu"), vectors=stores
    )
    read = trained.pooled(rows.query, trained.rows_of(rows.query, "query"), "query")
    learnt = trained.query_vectors(rows.query)
    asked = table[column_name("query", "user")].to_pylist()
    history = rows.query["read"]
    assert isinstance(history, Ids)

    lengths = np.diff(history.offsets)
    for row in [*np.flatnonzero(lengths)[:20], int(np.argmin(lengths))]:
        recent = history.keys[history.offsets[row] : history.offsets[row + 1]]
        request = RecommendRequest(
            user_id=users[asked[row]], k=10, recent=[items[int(key)] for key in recent]
        )
        retriever = Retriever(version, clock=HeldClock(at(1, 1)), max_k=10)
        encoded = retriever.encode(request)
        inputs = version.model.inputs(encoded)
        assert np.allclose(inputs[0], read[row], rtol=0, atol=1e-6)
        served = version.model.query_vectors(encoded)
        assert np.allclose(served[0], learnt[row], atol=1e-6)  # of one row, and of many at once
        assert len(retriever.answer(request).item_ids) == 10


@pytest.mark.long
def test_another_file_is_taken_up_by_the_next_night_and_shown_in_its_lineage(
    line: Line, file: Path
) -> None:
    """Hours keep the vectors of the night that they stand on: their towers know no others."""
    nights = [line.night(0)]
    write(file, vectors_of_items(seed=2))
    hour = line.hour(1, 2)
    nights.append(line.night(1))
    next_hour = line.hour(2, 2)

    before, after = (each.manifest.vectors["title"] for each in nights)
    assert before.source_sha256 != after.source_sha256
    assert hour.manifest.vectors["title"] == before
    assert next_hour.manifest.vectors["title"] == after
    assert nights[0].manifest.learning_hash == nights[1].manifest.learning_hash


@pytest.mark.long
def test_vectors_of_another_width_are_learnt_anew_by_the_night(line: Line, file: Path) -> None:
    """All else keeps what it has learnt; the hours go on with the vectors that they have."""
    line.night(0)
    write(file, vectors_of_items(width=WIDTH + 1))

    assert line.hour(1, 2).manifest.anew == ()
    anew = line.night(1).manifest.anew
    assert "what the candidate tower makes of title (it is another feature than before)" in anew
    assert not any("item" in each or "layers" in each for each in anew)
    assert line.hour(2, 2).manifest.vectors["title"].width == WIDTH + 1


def test_ids_of_another_type_are_refused(make_line: MakeLine, tmp_path: Path) -> None:
    """A string has never the key of a whole number, so that all would be unknown in silence."""
    path = tmp_path / "titles.parquet"
    pq.write_table(pa.table({"item_id": ["1", "2"], "title": [[1.0], [2.0]]}), path)

    with pytest.raises(Refused, match=r"are strings, and .*looks whole numbers up"):
        make_line(declared(path)).night(0)


@pytest.mark.promise("T10")
@pytest.mark.long
def test_a_rebuild_takes_the_vectors_of_the_lineage(line: Line, file: Path, tmp_path: Path) -> None:
    """Whatever the file holds by now, and though the store of the night is gone from its place."""
    made = [line.night(0).manifest, line.hour(1, 2).manifest]
    write(file, vectors_of_items(seed=2))
    line.night(1)

    again = [rebuild(line.deployment, each.name, into=tmp_path / "again") for each in made]

    assert again == made


@pytest.mark.long
def test_a_store_that_is_gone_is_made_anew_while_its_file_is_as_it_was(
    line: Line, file: Path
) -> None:
    """Training goes on; once the file is another one, it is refused by name and with a hint."""
    night = line.night(0)
    ref = night.manifest.vectors["title"]
    shutil.rmtree(line.deployment.vectors_dir)

    assert line.hour(1, 2).manifest.vectors["title"] == ref
    write(file, vectors_of_items(seed=2))
    shutil.rmtree(line.deployment.vectors_dir)
    with pytest.raises(Corrupt, match="vectors of table title are not there") as refused:
        line.hour(1, 5)
    assert "bring the folder back" in refused.value.hint
    with pytest.raises(Corrupt, match="vectors of table title are not there"):
        publish(line.deployment, clock=HeldClock(at(1, 6)))


@pytest.mark.long
def test_a_server_keeps_the_live_version_where_the_next_ones_vectors_are_damaged(
    line: Line, file: Path
) -> None:
    """It says so, answers on, and no rollback takes such a version either."""
    line.night(0)
    root = line.deployment.versions_dir
    first = published(line, 1)
    follower = Follower(root, clock=HeldClock(at(1, 1)), max_k=10, poll_seconds=0.1)
    follower.look()
    write(file, vectors_of_items(seed=2))
    night = line.night(1)
    second = publish(line.deployment, clock=HeldClock(at(2, 1)), judge=False).version
    store = line.deployment.vectors_dir / night.manifest.vectors["title"].name / "vectors.npy"
    whole = store.read_bytes()
    store.unlink()
    store.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    follower.look()

    assert follower.standing.retriever is not None
    assert follower.standing.retriever.name == first
    assert "vectors of table title are damaged" in (follower.standing.problem or "")
    assert follower.retriever().answer(RecommendRequest(user_id=1, k=5)).version == first
    rollback(root, to=first, reason="its vectors", clock=HeldClock(at(2, 2)))
    with pytest.raises(Corrupt, match="vectors of table title are damaged"):
        check_servable(root, second)


@pytest.mark.long
def test_a_model_may_know_its_items_by_their_vectors_alone(make_line: MakeLine, file: Path) -> None:
    """No row of an item is learnt: what it is retrieved by is what it is about."""
    changes = declared(file)
    changes["model"]["candidate"] = changes["model"]["candidate"][:1]
    changes["model"]["popularity_bias"] = False
    line = make_line(changes)
    line.night(0)
    hour = line.hour(1, 2)

    publish(line.deployment, clock=HeldClock(at(1, 3)), judge=False)

    assert {name for name in hour.arrays if name.startswith("table.")} == {
        "table.user.keys",
        "table.user.sums",
        "table.user.weights",
    }


@pytest.mark.long
def test_gc_keeps_the_vectors_that_a_checkpoint_or_a_version_names(line: Line, file: Path) -> None:
    """And those that a run took up lately, which it will name at its end."""
    old = line.night(0).manifest.vectors["title"].name
    published(line, 1)
    write(file, vectors_of_items(seed=2))
    stray = make_stores(line.deployment.vectors_dir, line.deployment.model.tables)["title"]

    assert gc.run(line.deployment).vectors == ()
    for name in (old, stray.name):
        os.utime(line.deployment.vectors_dir / name, (0, 0))
    assert gc.run(line.deployment, dry_run=True).vectors == (stray.name,)
    assert gc.run(line.deployment).vectors == (stray.name,)
    assert store_names(line.deployment.vectors_dir) == [old]
