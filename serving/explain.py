"""Why an item is in an answer: its score by part, and which items of the history pulled it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from publisher.reader import LoadedVersion
from serving.encoding import Left
from twintide.keys import Keys

PULLS = 3
"""Items of the history that are named for each item: those that pulled most."""

_DIGITS = 6

Floats = npt.NDArray[np.float32]


def explanations(
    version: LoadedVersion, query: Floats, positions: npt.NDArray[np.int64], left: Left | None
) -> list[dict[str, Any]]:
    """Of each item. `query` [1, O · (D + 1)] is what was searched with; `left` the queries without
    each item of the history, where the model looks back.
    """
    if not len(positions):
        return []
    vectors = version.index.vectors(positions)
    parts = _parts(version, query, vectors)
    pulls = _pulls(version, query, vectors, left)
    return [{"parts": own, "history": pulled} for own, pulled in zip(parts, pulls, strict=True)]


def _parts(version: LoadedVersion, query: Floats, vectors: Floats) -> list[dict[str, Any]]:
    """Of each objective its similarity and its bias, both as they count: together the score."""
    names = tuple(version.manifest.model.every_objective())
    products = (vectors * query).reshape(len(vectors), len(names), -1)
    similarities, biases = products[:, :, :-1].sum(axis=2), products[:, :, -1]
    return [
        {
            name: {"similarity": _rounded(similarity), "bias": _rounded(bias)}
            for name, similarity, bias in zip(names, own, of_item, strict=True)
        }
        for own, of_item in zip(similarities, biases, strict=True)
    ]


def _pulls(
    version: LoadedVersion, query: Floats, vectors: Floats, left: Left | None
) -> list[list[dict[str, Any]]]:
    """For each item those of the history without which its score would be lowest."""
    if left is None or not len(left.keys):
        return [[] for _ in vectors]
    changes = (query @ vectors.T) - (left.queries @ vectors.T)
    names = _ids_of(version, left.keys)
    return [
        [
            {"item_id": names[row], "score": _rounded(changes[row, place])}
            for row in np.argsort(-changes[:, place], kind="stable")[:PULLS]
            if changes[row, place] > 0
        ]
        for place in range(len(vectors))
    ]


def _ids_of(version: LoadedVersion, keys: Keys) -> list[Any]:
    """The ids of items; None for one that the version has not."""
    found: dict[int, Any] = {}
    for key in keys:
        places = version.positions_of(np.array([key], np.uint64))
        if len(places):
            found[int(key)] = version.item_ids[int(places[0])].as_py()
    return [found.get(int(key)) for key in keys]


def _rounded(value: np.float32) -> float:
    return round(float(value), _DIGITS)
