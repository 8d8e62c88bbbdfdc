"""`config check` reads the files of vectors that a declaration names, as training will."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twintide import config, surroundings, yaml12
from twintide.problems import Problem

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


def problems(folder: Path, ids: Any, vectors: Any, **changes: Any) -> list[Problem]:
    """Of the quickstart with titles, whose file lies beside it."""
    values = config.values_in(QUICKSTART)
    values["model"]["tables"] = {"title": {"vectors": "titles.parquet"}}
    title = {"kind": "sparse", "name": "title", "column": "item_id", "table": "title"}
    values["model"]["candidate"].append(title)
    values["model"] |= changes
    pq.write_table(pa.table({"id": ids, "vector": vectors}), folder / "titles.parquet")
    (folder / "twintide.yaml").write_text(yaml12.dump(values))
    return surroundings.check(folder / "twintide.yaml")


def test_a_file_beside_the_configuration_is_found_and_right(tmp_path: Path) -> None:
    """A relative path starts at the folder of the configuration."""
    assert problems(tmp_path, [1, 2], [[1.0, 2.0], [3.0, 4.0]]) == []


@pytest.mark.parametrize(
    ("ids", "vectors", "reason"),
    [
        ([1, 2], [[1.0], [np.nan]], "row 1, counted from 0, holds a number that is not finite"),
        (["1", "2"], [[1.0], [2.0]], "are strings, and candidate.title looks whole numbers up"),
    ],
    ids=["a row of it", "its ids"],
)
def test_what_is_wrong_with_it_is_said_by_the_key_that_names_it(
    tmp_path: Path, ids: Any, vectors: Any, reason: str
) -> None:
    """With a hint, before anything is trained."""
    (found,) = problems(tmp_path, ids, vectors)

    assert found.key == "model.tables.title.vectors"
    assert reason in found.reason
    assert found.hint


def test_a_tower_is_judged_by_the_width_of_the_file(tmp_path: Path) -> None:
    """A residual that is no wider than the vectors is right, another is refused once it is read."""
    wide = [np.ones(64, np.float32).tolist()]
    residual = {"candidate_tower": {"kind": "dnn", "residual": "title"}}

    assert problems(tmp_path, [1], wide, **residual) == []
    (found,) = problems(tmp_path, [1], [[1.0, 2.0]], **residual)
    assert found.key == "model.candidate_tower.residual"
    assert "gives 2 numbers" in found.reason


def test_a_missing_file_is_said_and_no_reason_to_load_nothing(tmp_path: Path) -> None:
    """Ingest and servers never need it: only `config check` and training look."""
    problems(tmp_path, [1], [[1.0]])
    (tmp_path / "titles.parquet").unlink()

    (found,) = surroundings.check(tmp_path / "twintide.yaml")

    assert "cannot be read: No such file" in found.reason
    assert config.load(tmp_path / "twintide.yaml").model.vector_tables() == ("title",)
