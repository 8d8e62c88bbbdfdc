"""A list of which the model is told a part is seen as if it had no more, and is kept."""

import numpy as np
import pyarrow as pa

from tests.twintide import test_towers as towers
from tests.twintide.test_exported import learnt, queries
from twintide.features.varlen import Varlen
from twintide.model.exported.query import QueryTower
from twintide.ragged import Encoded, Ids, cut_to

TOLD_TWO = {"kind": "varlen", "name": "tags", "column": "tags", "table": "item", "told_length": 2}


def test_the_model_is_told_the_first_and_an_item_keeps_them_all() -> None:
    """An event is encoded whole; the vectors in torch and in numpy are those of lists that are cut,
    and the learner is told of no other id.
    """
    feature = Varlen.model_validate(TOLD_TWO)
    events = pa.table({"tags": pa.array([["a", "b", "c"], [], ["d"]])})
    spec = towers.spec_of({"query": [*towers.MODEL["query"], TOLD_TWO]})
    model, asked = learnt(spec), queries(spec)
    keys = np.random.default_rng(3).choice(towers.ids(), 40)
    tags = Ids(keys, np.arange(0, 41, 4))
    whole: Encoded = asked | {"tags": tags}
    cut: Encoded = asked | {"tags": cut_to(tags, 2)}
    exported = QueryTower(spec, model.arrays(("query",)), {})

    assert len(feature.encode(events, time_column="at").keys) == 4
    assert np.array_equal(model.query_vectors(whole), model.query_vectors(cut))
    assert np.array_equal(exported.query_vectors(whole), exported.query_vectors(cut))
    assert np.abs(exported.query_vectors(whole) - model.query_vectors(whole)).max() < 1e-5
    assert np.array_equal(model.told(whole, "query")["tags"].keys, cut_to(tags, 2).keys)
