"""`twintide config new`: a configuration for events that nobody has declared yet."""

import csv
import json
import random
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from console.starter import text_of
from streaming.client import as_config, create_topic, producer
from tests.console.conftest import Twintide
from twintide import yaml12
from twintide.config import load
from twintide.datafile import first_rows
from twintide.guess import guess

REFUSED = 2
CONFIGS = Path(__file__).parents[2] / "configs"
NOON_S = 1_772_366_400


def shop_events(count: int = 1200) -> list[dict[str, Any]]:
    """A shop: what is of an item, of a user, of neither, never there, and hardly ever different."""
    rng = random.Random(4)
    kinds = {f"s{number}": rng.choice("abcde") for number in range(60)}
    price = {sku: round(rng.uniform(1, 90), 2) for sku in kinds}
    lives = {f"c{number}": rng.choice(["at", "de", "ch"]) for number in range(50)}
    events = []
    for number in range(count):
        sku, customer = rng.choice(list(kinds)), rng.choice(list(lives))
        hour = rng.choice([h for h in range(24) if h not in {2, 3, 4}] * 9 + [2, 3, 4])
        events.append(
            {
                "customer": customer,
                "sku": sku,
                "when": NOON_S + 3600 * (hour + 24 * (number % 3) - 12) + number % 3600,
                "action": rng.choice(["view", "click", "click"]),
                "category": kinds[sku],
                "price": price[sku],
                "topics": [kinds[sku], f"t{len(sku)}"],
                "shares": f"{kinds[sku]}:0.7,other:0.3",
                "tags": [sku[:2], kinds[sku], "all"][: 1 + len(sku) % 3],
                "sureness": [0.5, 1, 0.25][: 1 + len(sku) % 3],
                "lives in": lives[customer],
                "seconds": rng.randrange(600),
                "gift": number % 300 == 0,
                "coupon": None,
                "title": f"The {sku}",
            }
        )
    return events


def as_csv(path: Path, events: list[dict[str, Any]], separator: str) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(events[0])
        for each in events:
            writer.writerow(
                json.dumps(value) if isinstance(value, list) else value for value in each.values()
            )
    return path


def as_json_lines(path: Path, events: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in events))
    return path


def features_of(values: dict[str, Any], side: str) -> dict[str, str]:
    """Column -> kind of what a tower sees."""
    return {each["column"]: each["kind"] for each in values["model"][side] if "column" in each}


@pytest.mark.parametrize("written", ["csv", "jsonl"])
def test_a_new_configuration_fits_the_events_that_it_was_guessed_from(
    twintide: Twintide, tmp_path: Path, written: str
) -> None:
    """Types, roles, unit, separator, whose each column is; `config check --sample` agrees."""
    events = shop_events()
    path = (
        as_csv(tmp_path / "my shop.csv", events, ";")
        if written == "csv"
        else as_json_lines(tmp_path / "my shop.jsonl", events)
    )

    made = twintide("config", "new", str(path))
    config = tmp_path / "twintide.yaml"
    config.write_text(made.out)
    checked = twintide("config", "check", "-c", str(config), "--sample", str(path))
    values = yaml12.parse(made.out, name="made")

    assert (made.code, checked.code) == (0, 0), checked.err
    assert (values["events"]["user"], values["events"]["item"]) == ("customer", "sku")
    assert (values["events"]["time"], values["events"]["times"]) == ("when", "s")
    assert values["events"]["positive"] == {"column": "action", "equals": "click"}
    assert values["kafka"]["topic"] == "my-shop"
    assert features_of(values, "query") == {"customer": "sparse", "lives in": "sparse"}
    assert features_of(values, "candidate") == {
        "sku": "sparse",
        "category": "sparse",
        "price": "dense",
        "topics": "varlen",
        "shares": "weighted_varlen",
        "tags": "weighted_varlen",
    }
    tags = next(each for each in values["model"]["candidate"] if each["name"] == "tags")
    assert (tags["weights"], values["events"]["columns"]["sureness"]) == (
        "sureness",
        "list<float64>",
    )
    assert values["training"]["day_starts_at"] == "03:00"
    for name in ("seconds", "gift", "coupon", "title", "sureness"):
        assert name in made.out.partition("left out")[2]


def nested_shop(count: int = 1200) -> list[dict[str, Any]]:
    """The same shop, whose messages are nested; other lists have the lengths of the tags too."""
    events = []
    for each in shop_events(count):
        tags, others = each.pop("tags"), each.pop("sureness")
        each["product"] = {name: each.pop(name) for name in ("sku", "category", "price")}
        each["product"]["tags"] = [
            {"score": score, "label": tag} for tag, score in zip(tags, others, strict=True)
        ]
        each["colours"] = [f"{tag}'s" for tag in tags]
        each["customer"] = {"id": each.pop("customer"), "home": {"land": each.pop("lives in")}}
        each["customer"]["odd.name"] = {"x": 1}
        each.pop("coupon")
        events.append(each)
    return events


@pytest.mark.parametrize("written", ["parquet", "jsonl"])
def test_values_in_objects_are_found_with_their_paths(
    twintide: Twintide, tmp_path: Path, written: str
) -> None:
    """Structs and lists of structs become columns with paths, ids and weights of one list stay
    together; `config check --sample` agrees.
    """
    path = tmp_path / f"shop.{written}"
    if written == "parquet":
        pq.write_table(pa.Table.from_pylist(nested_shop()), path)
    else:
        as_json_lines(path, nested_shop())

    made = twintide("config", "new", str(path))
    config = tmp_path / "twintide.yaml"
    config.write_text(made.out)
    checked = twintide("config", "check", "-c", str(config), "--sample", str(path))
    values = yaml12.parse(made.out, name="made")

    assert (made.code, checked.code) == (0, 0), made.err + checked.err
    assert values["events"]["paths"] == {
        "product_sku": "product.sku",
        "product_category": "product.category",
        "product_price": "product.price",
        "product_tags_score": "product.tags[].score",
        "product_tags_label": "product.tags[].label",
        "customer_id": "customer.id",
        "customer_home_land": "customer.home.land",
    }
    assert (values["events"]["user"], values["events"]["item"]) == ("customer_id", "product_sku")
    (weighted,) = [each for each in values["model"]["candidate"] if "weights" in each]
    assert (weighted["column"], weighted["weights"]) == ("product_tags_label", "product_tags_score")


def test_what_cannot_be_guessed_is_asked_for(twintide: Twintide, tmp_path: Path) -> None:
    """A column that nothing names is no user; told which it is, the same file is enough."""
    events = [{"who": each["customer"], **each} for each in shop_events(200)]
    for each in events:
        each.pop("customer")
    path = as_json_lines(tmp_path / "events.jsonl", events)

    refused = twintide("config", "new", str(path))
    wrong = twintide("config", "new", str(path), "--user", "price")
    told = twintide("config", "new", str(path), "--user", "who")

    assert (refused.code, wrong.code, told.code) == (REFUSED, REFUSED, 0)
    assert "no column looks like the user" in refused.err
    assert "--user COLUMN" in refused.err
    assert "no column 'price' that can be the user" in wrong.err
    assert yaml12.parse(told.out, name="told")["events"]["user"] == "who"


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("none.csv", None, "no data file"),
        ("events.txt", "a,b\n", "no known kind"),
        ("events.csv", "", "cannot be read"),
        ("events.jsonl", "[1, 2]\n", "no JSON object"),
        ("events.jsonl", "{\n", "cannot be read"),
        ("events.parquet", "PAR1", "cannot be read"),
    ],
)
def test_what_is_no_file_of_events_is_refused(
    twintide: Twintide, tmp_path: Path, name: str, data: str | None, says: str
) -> None:
    """In one sentence, with what can be read."""
    path = tmp_path / name
    if data is not None:
        path.write_text(data)

    refused = twintide("config", "new", str(path))

    assert refused.code == REFUSED
    assert says in refused.err
    assert "Traceback" not in refused.err


def test_names_of_every_sort_give_a_configuration_that_is_right(tmp_path: Path) -> None:
    """Columns that YAML would take for something else, that are no names of features, that are
    called as Twintide's own, or twice the same once they are.
    """
    rng = random.Random(1)
    odd = ["yes", "1", "a b", "a.b", "item", "history", "user", "ünïcode", "x: y", "#no", "'", '"',
           "null", "-", "statistics", "kafka_offset", "{a}", "b" * 90, "  "]  # fmt: skip
    worth = {name: {f"u{n}": rng.choice("pqrs") for n in range(30)} for name in odd}
    events = []
    for number in range(400):
        user = f"u{rng.randrange(30)}"
        events.append(
            {name: worth[name][user] for name in odd}
            | {"user_id": user, "sku": rng.randrange(20), "ts": (NOON_S + number) * 1000}
        )
    path = as_json_lines(tmp_path / "odd.jsonl", events)

    raw, _ = first_rows(path, rows=1000)
    found = guess(raw, roles={"item": "sku"})
    config = tmp_path / "twintide.yaml"
    config.write_text(
        text_of(found, source=path.name, separator=",", data_dir="data", topic="odd"),
        encoding="utf-8",
    )
    deployment = load(config)

    assert set(deployment.events.columns) == {*raw} - {"kafka_offset", "  "}
    assert len(deployment.model.query) == len(odd) - 2 + 3


@pytest.mark.long
def test_a_topic_is_guessed_as_a_file_of_its_messages(
    twintide: Twintide, kafka: str, tmp_path: Path
) -> None:
    """What is no JSON object is left out, as ingest would; the file names the broker."""
    topic = f"shop-{uuid4().hex[:8]}"
    events = shop_events()
    create_topic(kafka, topic, partitions=2)
    with producer(as_config(kafka)) as sending:
        for number, each in enumerate([*events, b"no JSON", b"[1]", None]):
            value = json.dumps(each).encode() if isinstance(each, dict) else each
            sending.send(topic, value, key=b"any", partition=number % 2)
        sending.flush()

    of_topic = twintide("config", "new", "--topic", topic, "--bootstrap", kafka)
    of_file = twintide("config", "new", str(as_json_lines(tmp_path / "shop.jsonl", events)))
    few = twintide("config", "new", "--topic", topic, "--bootstrap", kafka, "--rows", "100")
    none = twintide("config", "new", "--topic", f"no-{topic}", "--bootstrap", kafka)

    assert of_topic.code == 0, of_topic.err
    assert f"from {len(events):,} events, the newest of topic {topic}" in of_topic.out
    made, wanted = (yaml12.parse(each.out, name="made") for each in (of_topic, of_file))
    assert made["kafka"] == {"bootstrap_servers": [kafka], "topic": topic}
    assert {key: made[key] for key in ("model", "training")} == {
        key: wanted[key] for key in ("model", "training")
    }
    assert made["events"]["columns"] == wanted["events"]["columns"]
    assert (few.code, "events, the newest of topic" in few.out) == (0, True), few.err
    assert (none.code, "no topic" in none.err) == (REFUSED, True)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["clicks.csv", "--topic", "clicks"],
        ["clicks.csv", "--bootstrap", "a:1"],
        ["--topic", "a b", "--bootstrap", "127.0.0.1:9"],
        ["--topic", "clicks", "--bootstrap", "nowhere"],
    ],
)
def test_where_events_are_is_said_once(twintide: Twintide, arguments: list[str]) -> None:
    """A file or a topic of a broker, each by its name; else it is refused with what to say."""
    refused = twintide("config", "new", *arguments)

    assert refused.code == REFUSED
    assert "Traceback" not in refused.err
    assert "topic" in refused.err


@pytest.mark.parametrize("a_day", [600, 3_000, 6_000])
def test_a_small_stream_gets_what_fits_few_clicks(tmp_path: Path, a_day: int) -> None:
    """Batches, windows and towers by how many clicks a day has, and the reason beside them; a busy
    one keeps the defaults.
    """
    apart_ms = 86_400_000 // a_day
    events = [
        {"user_id": number % 70, "item_id": number % 50, "ts": NOON_S * 1000 + number * apart_ms}
        for number in range(max(600, a_day // 8 + 200))
    ]
    path = as_json_lines(tmp_path / "clicks.jsonl", events)
    raw, separator = first_rows(path, rows=100_000)

    text = text_of(
        guess(raw, roles={}), source="a test", separator=separator, data_dir="data", topic="clicks"
    )

    (tmp_path / "new.yaml").write_text(text)
    own = load(tmp_path / "new.yaml")
    rows = {600: 32, 3_000: 64, 6_000: 512}[a_day]
    assert own.training.nightly.batch_rows == own.training.hourly.batch_rows == rows
    is_slow = a_day < 4_000
    assert bool(own.model.pooled_clicks()) == (a_day == 600)
    assert bool(own.model.popularity_layer) == (not is_slow)
    kinds = [each.kind for each in own.model.negatives]
    assert ("uniform" in kinds) == (not is_slow)
    assert ("clicks a day, which are few" in text) == is_slow
    assert (own.model.tower_of("query").residual == "decayed") == is_slow
    statistics = own.model.item_statistics()
    assert statistics is not None
    assert (min(statistics.windows_minutes) >= 180) == is_slow


@pytest.mark.parametrize("preset", ["news", "shop", "video"])
def test_a_preset_is_a_configuration_as_it_ships(
    twintide: Twintide, tmp_path: Path, preset: str
) -> None:
    """To copy into a file and to check there; it looks at no events, so none may be named."""
    made = twintide("config", "new", "--preset", preset)
    (tmp_path / "twintide.yaml").write_text(made.out)
    named = twintide("config", "new", "clicks.csv", "--preset", preset)

    shipped = load(CONFIGS / f"{preset}.yaml")
    assert load(tmp_path / "twintide.yaml").learning_hash() == shipped.learning_hash()
    assert (named.code, "looks at no events" in named.err) == (REFUSED, True)
