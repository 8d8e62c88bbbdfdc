"""Files of items: what is read, and what is refused with file, row, reason and hint."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.twintide import item_files as files
from twintide import itemfile, surroundings, yaml12
from twintide.config import values_in
from twintide.errors import Refused, Retryable, TwintideError

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)


def rows_of(path: Path, **said: Any) -> dict[str, list[Any]]:
    deployment = files.deployment_of(path, **said)
    read = itemfile.read(deployment.items, deployment.events, deployment.model)
    assert read is not None
    found: dict[str, list[Any]] = read.table.to_pydict()
    return found


def test_a_file_tells_what_each_item_is(tmp_path: Path) -> None:
    """Attributes are the event columns that candidate features read, whatever width they have;
    other columns are nobody's business.
    """
    path = files.write(
        tmp_path / "items.parquet",
        id=pa.array([7, 8], pa.int32()),
        category=pa.array([3, None], pa.uint8()),
        topics=pa.array([[1, 2], None], pa.large_list(pa.int16())),
        in_stock=[True, None],
        since=pa.array([SINCE, None], pa.timestamp("us")),
        price=[1.0, 2.0],
    )

    found = rows_of(path, id_column="id", available_column="in_stock", listed_at_column="since")

    assert found == {
        "item_id": [7, 8],
        "available": [True, None],
        "listed_at": [SINCE, None],
        "attribute.category": [3, None],
        "attribute.topics": [[1, 2], None],
    }


def test_a_folder_of_parts_is_one_source(tmp_path: Path) -> None:
    """An attribute that a part lacks is not known there; hidden files are somebody's at work."""
    folder = tmp_path / "items"
    folder.mkdir()
    files.write(folder / "b.parquet", item_id=[2])
    files.write(folder / "a.parquet", item_id=[1], category=[5])
    (folder / "_SUCCESS").touch()
    (folder / ".c.parquet").touch()

    assert rows_of(folder) == {"item_id": [1, 2], "attribute.category": [5, None]}


def cut(path: Path) -> None:
    files.write(path, item_id=list(range(1000)))
    path.write_bytes(path.read_bytes()[:-100])


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (Path.exists, "No such file"),
    "half of a file": (cut, "cannot be read"),
    "no Parquet": (lambda p: p.write_text("item_id\n1\n"), "cannot be read"),
    "no rows": (lambda p: files.write(p, item_id=pa.array([], pa.int64())), "holds no item"),
    "no ids": (lambda p: files.write(p, id=[1]), "has no column 'item_id'; it has id"),
    "a null id": (lambda p: files.write(p, item_id=[1, None]), "row 1, counted from 0, has no"),
    "an id twice": (
        lambda p: files.write(p, item_id=[4, 5, 6, 5]),
        "row 3, counted from 0, holds the item '5' again, as row 1",
    ),
    "a value of another type": (
        lambda p: files.write(p, item_id=[1, 2], category=[1.0, 2.5]),
        "row 1, counted from 0, holds '2.5' in column 'category' (double), which is no int64",
    ),
    "a column of another type": (
        lambda p: files.write(p, item_id=[1], topics=[3]),
        "row 0, counted from 0, holds '3' in column 'topics' (int64), which is no list<int64>",
    ),
    "an empty folder": (lambda p: p.mkdir(), "is a folder without a Parquet file"),
}


@pytest.mark.parametrize(("make", "reason"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_with_its_row_and_by_config_check(
    make: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    """Before anything is trained or published, with a hint."""
    make(tmp_path / "items.parquet")
    deployment = files.deployment_of(tmp_path / "items.parquet")

    with pytest.raises(Refused) as refused:
        itemfile.read(deployment.items, deployment.events, deployment.model)

    (problem,) = checked(tmp_path, {"file": "items.parquet"})
    assert problem.key == "items.file"
    assert reason in refused.value.message
    assert problem.reason == refused.value.message
    assert problem.hint


@pytest.mark.parametrize(
    ("items", "key", "reason"),
    [
        ({"complete": True}, "items.complete", "there is no source of items"),
        ({"id_column": "id"}, "items.id_column", "there is no source of items"),
        ({"file": "i.parquet", "look_every_minutes": 0}, "items.look_every_minutes", "at least 1"),
        ({"file": "i.parquet", "complete": "yes"}, "items.complete", "must be true or false"),
        ({"file": "~/i.parquet"}, "items.file", "only a shell knows"),
        ({"file": "i.parquet", "id_column": ""}, "items.id_column", "at least 1 characters"),
        (
            {"file": "i.parquet", "available_column": "item_id"},
            "items.available_column",
            "is the id_column already",
        ),
        (
            {"file": "i.parquet", "available_column": "x", "listed_at_column": "x"},
            "items.listed_at_column",
            "is the available_column already",
        ),
        ({"file": "n.parquet"}, "items.file", "says nothing of an item"),
        (
            {"file": "i.parquet", "available_column": "there"},
            "items.file",
            "has no column 'there'",
        ),
    ],
)
def test_a_wrong_declaration_is_refused_by_its_key(
    items: dict[str, Any], key: str, reason: str, tmp_path: Path
) -> None:
    """Each by the key that is wrong, with the reason."""
    files.write(tmp_path / "i.parquet", item_id=[1], category=[1])
    files.write(tmp_path / "n.parquet", item_id=[1], title=["x"])

    (problem,) = checked(tmp_path, items)

    assert problem.key == key
    assert reason in problem.reason


def checked(folder: Path, items: dict[str, Any]) -> list[Any]:
    values = values_in(files.QUICKSTART) | {"items": items}
    (folder / "twintide.yaml").write_text(yaml12.dump(values))
    return surroundings.check(folder / "twintide.yaml")


def test_a_file_that_is_written_in_place_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes while it is read is tried again later; what is renamed over it meanwhile is read
    next time.
    """
    path = files.write(tmp_path / "items.parquet", item_id=[1], category=[1])
    deployment = files.deployment_of(path)
    reading = itemfile._columns

    def changed_meanwhile(*args: Any) -> pa.Table:
        with path.open("r+b") as file:
            file.write(b"PAR1")
        path.touch()
        return reading(*args)

    def replaced_meanwhile(*args: Any) -> pa.Table:
        files.write(path, item_id=[2], category=[2])
        return reading(*args)

    monkeypatch.setattr(itemfile, "_columns", changed_meanwhile)
    with pytest.raises(Retryable, match="was changed while it was read"):
        itemfile.read(deployment.items, deployment.events, deployment.model)
    monkeypatch.setattr(itemfile, "_columns", replaced_meanwhile)
    assert rows_of(path)["item_id"] == [1]
    monkeypatch.undo()
    assert rows_of(path)["item_id"] == [2]


def test_who_made_it_is_in_its_name(tmp_path: Path) -> None:
    """The same content read in the same way has one sha256, another has another."""
    path = files.write(tmp_path / "items.parquet", item_id=[1], category=[1])
    deployment = files.deployment_of(path)
    complete = files.deployment_of(path, complete=True)

    def sha256(deployment: Any) -> str:
        own = deployment
        found = itemfile.read(own.items, own.events, own.model)
        assert found is not None
        assert itemfile.read(own.items, own.events, own.model, known=found.sha256) is None
        return found.sha256

    first = sha256(deployment)
    path.touch()
    assert sha256(deployment) == first
    assert sha256(complete) != first
    files.write(path, item_id=[1], category=[2])
    assert sha256(deployment) != first


def test_it_is_an_error_of_ours_whatever_the_file_is(tmp_path: Path) -> None:
    """A file with one changed byte, wherever it is: read, or refused in our words."""
    path = files.write(tmp_path / "items.parquet", item_id=list(range(50)), category=[1] * 50)
    deployment = files.deployment_of(path)
    whole = path.read_bytes()
    for place in range(4, len(whole), max(1, len(whole) // 100)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with suppress(TwintideError):
            itemfile.read(deployment.items, deployment.events, deployment.model)
