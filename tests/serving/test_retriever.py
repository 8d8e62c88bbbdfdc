import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from publisher.activity import UserNumbers
from publisher.reader import load_version
from serving.request import RecommendRequest, parse_request
from serving.retriever import Retriever
from serving.server import recommend
from tests.publisher import checkpoint_fixture as made
from tests.publisher.checkpoint_fixture import NOON
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.errors import Refused
from twintide.features.columns import encode
from twintide.features.user_statistics import UserStatistics
from twintide.keys import keys_of
from twintide.modelspec import CLICKS


@pytest.fixture
def retriever(two_versions: Deployment, clock: HeldClock) -> Retriever:
    version = load_version(two_versions.versions_dir, "v000001")
    return Retriever(version, clock=clock, max_k=250)


def request_of(**values: object) -> RecommendRequest:
    return parse_request(json.dumps(values).encode())


def ids_of(retriever: Retriever, **request: object) -> list[str | int]:
    return retriever.answer(request_of(**request)).item_ids


def test_a_request_is_encoded_as_its_event_would_be(retriever: Retriever) -> None:
    """The same columns as an event of this moment give the same keys and numbers."""
    features = {"region": "region 2", "age": 33.0, "tags": ["news", "culture"]}
    event = pa.table(
        {
            "user_id": pa.array([4]),
            "event_at": pa.array([NOON], pa.timestamp("ms", tz="UTC")),
            "region": pa.array(["region 2"]),
            "age": pa.array([33.0]),
            "tags": pa.array([["news", "culture"]]),
        }
    )
    spec = retriever.version.manifest.model
    expected = encode(event, spec.query, time_column="event_at")

    encoded = retriever.encode(request_of(user_id=4, features=features, recent=[1001, 1002]))

    assert set(encoded) == {*expected, "history"}
    for name, values in expected.items():
        for part, array in vars(values).items():
            assert np.array_equal(getattr(encoded[name], part), array), name
    assert np.array_equal(encoded["history"].keys, keys_of(pa.array([1001, 1002])))  # type: ignore[union-attr]


def test_what_was_kept_of_a_request_is_of_no_other_hour_or_value(
    retriever: Retriever, clock: HeldClock
) -> None:
    """What features gave is kept; another quarter of an hour, or another value, has its own."""
    asked = {"features": {"region": "region 2", "age": 33.0}, "user_id": 4}
    first, again = (retriever.encode(request_of(**asked)) for _ in range(2))
    other = retriever.encode(request_of(user_id=4, features={"region": "region 3", "age": 34.0}))
    clock.move_to(NOON + timedelta(hours=5))
    later = retriever.encode(request_of(**asked))

    assert first["region"] is again["region"]
    assert np.array_equal(later["hour"].keys, keys_of(pa.array([17])))  # type: ignore[union-attr]
    assert np.array_equal(first["hour"].keys, keys_of(pa.array([12])))  # type: ignore[union-attr]
    assert np.array_equal(other["region"].keys, keys_of(pa.array(["region 3"])))  # type: ignore[union-attr]
    assert other["age"].values[0, 0] == np.float32(0.34)  # type: ignore[union-attr]


def test_what_was_kept_makes_the_same_vector(retriever: Retriever) -> None:
    """To the bit that of the encoded request, whatever was asked before."""
    asked = [
        request_of(user_id=user, features={"region": f"region {region}", "age": 30.0 + region})
        for user in (4, 5)
        for region in (1, 2, 1)
    ]
    for request in asked:
        plain = retriever.version.model.query_vectors(retriever.encode(request))
        assert np.array_equal(retriever.query(request).vectors, plain)


def test_the_answer_is_the_best_of_the_whole_catalogue(retriever: Retriever) -> None:
    """Best first, k of them, with the scores of the towers."""
    request = RecommendRequest(user_id=4, k=7)
    queries = retriever.version.model.query_vectors(retriever.encode(request))
    items, deployment = made.item_range(1000, 300), made.deployment_at(Path("nowhere"))
    model = made.model_of(deployment, items)
    candidates = made.candidates_of(deployment, items)
    products = model.candidate_vectors(candidates) @ queries[0]

    answer = retriever.answer(request)

    best = np.argsort(-products)[:7]
    assert answer.item_ids == (best + 1000).tolist()
    assert answer.scores == pytest.approx(products[best].tolist(), abs=1e-5)
    assert answer.version == "v000001"


def test_an_answer_is_written_as_what_it_says(retriever: Retriever) -> None:
    """The bytes are those of its dictionary, with reasons and without."""
    for request in ({}, {"explain": True}):
        answer = retriever.answer(request_of(user_id=4, k=5, **request))
        assert answer.to_json() == msgspec.json.encode(answer.to_dict())


def test_stored_history_is_used_unless_the_request_brings_its_own(retriever: Retriever) -> None:
    """Only the newest items count, as many as the model's history takes; [] means none."""
    stored = retriever.version.memories[CLICKS].of(keys_of(pa.array([4])), length=5)
    assert len(stored.keys)

    def history(**request: object) -> list[int]:
        encoded = retriever.encode(request_of(user_id=4, **request))
        return list(encoded["history"].keys)  # type: ignore[union-attr]

    assert history() == list(stored.keys)
    assert history(recent=[]) == []
    recent = list(range(1000, 1010))
    newest = list(keys_of(pa.array(recent[-5:])))
    assert history(recent=recent) == newest
    assert history(histories={"history": recent}) == newest
    timed = [{"item_id": item, "at": 0} for item in recent]
    assert history(recent=[*recent[:3], *timed[3:]]) == newest


def test_excluded_items_are_left_out_and_k_is_still_met(retriever: Retriever) -> None:
    """The next best ones take their places; ids that nobody knows do no harm."""
    best = ids_of(retriever, user_id=4, k=20)

    answer = ids_of(retriever, user_id=4, k=10, exclude=[*best[:5], best[0], 99_999_999])

    assert answer == best[5:15]


def test_what_a_request_says_was_clicked_is_seen_by_whichever_name(retriever: Retriever) -> None:
    """`recent`, or `histories` by the name of the feature that looks back on clicks."""
    best = [int(each) for each in ids_of(retriever, user_id=1, k=10)]

    for said in ({"recent": best}, {"histories": {"history": best}}):
        assert set(best) & set(ids_of(retriever, user_id=1, k=200, **said))
        assert not set(best) & set(ids_of(retriever, user_id=1, k=200, seen=False, **said))


def test_unknown_and_anonymous_users_are_answered(retriever: Retriever) -> None:
    """From the rest of the request; both start from the table's default row."""
    unknown, anonymous = (ids_of(retriever, user_id=user, k=5) for user in (-77, None))

    assert len(unknown) == 5
    assert unknown == anonymous


def test_a_user_whose_clicks_are_counted_is_known(retriever: Retriever, clock: HeldClock) -> None:
    """Where a model asks how active users are, and has neither a row nor a history of this one."""
    spec = UserStatistics.model_validate({"kind": "user_statistics", "name": "active"})
    values = np.zeros((1, spec.count), np.float32)
    counted = UserNumbers(spec, keys_of(pa.array([777])), values)
    version = replace(retriever.version, user_numbers=counted)
    counting = Retriever(version, clock=clock, max_k=250)

    assert not retriever.answer(request_of(user_id=777, k=1)).known_user
    assert counting.answer(request_of(user_id=777, k=1)).known_user
    for other in (778, None):
        assert not counting.answer(request_of(user_id=other, k=1)).known_user


def test_k_is_bounded_by_the_server_and_by_the_catalogue(retriever: Retriever) -> None:
    """More than max_k is refused; what the catalogue does not have is not made up."""
    assert len(set(ids_of(retriever, user_id=1, k=250))) == 250
    with pytest.raises(Refused, match="at most 250"):
        ids_of(retriever, user_id=1, k=251)

    everything_but_ten = list(range(1010, 1300))
    assert sorted(
        map(int, ids_of(retriever, user_id=1, k=250, exclude=everything_but_ten))
    ) == list(range(1000, 1010))


def test_one_answer_before_the_first_version_is_refused(
    deployment: Deployment, clock: HeldClock
) -> None:
    """The hint says what makes a version live."""
    with pytest.raises(Refused, match="no version is live") as error:
        recommend(deployment, user_id="4", k=3, clock=clock)

    assert error.value.hint.startswith("`twintide publish -c FILE`")


def test_one_answer_takes_ids_as_a_person_types_them(
    two_versions: Deployment, clock: HeldClock
) -> None:
    """Text becomes a number where the events have numbers, and is refused where it is none."""
    answer = recommend(
        two_versions, user_id="4", k=3, clock=clock, recent=["5001"], exclude=["5002"]
    )

    assert answer.version == "v000002"
    assert all(5000 <= int(item) < 5300 for item in answer.item_ids)
    for wrong in ({"user_id": "four"}, {"recent": ["x"]}, {"exclude": [""]}, {"k": 0}):
        with pytest.raises(Refused):
            recommend(two_versions, **({"user_id": "4", "k": 3, "clock": clock} | wrong))  # type: ignore[arg-type]
