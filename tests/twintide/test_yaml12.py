"""Configuration is data: every text is read as meant or refused in one sentence."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twintide import yaml12
from twintide.config import load
from twintide.errors import Refused

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))

AS_MEANT = {
    "a: 12:30": "12:30",
    "a: no": "no",
    "a: on": "on",
    "a: True": "True",
    "a: 0o17": "0o17",
    "a: 0x1F": "0x1F",
    "a: 017": "017",
    "a: 1_000": "1_000",
    "a: 2026-01-05": "2026-01-05",
    "a: .inf": ".inf",
    "a: .nan": ".nan",
    "a: =": "=",
    "a: 1e3": 1000.0,
    "a: -0": 0,
    "a: +7": 7,
    "a: true": True,
    "a: ~": None,
    "a:": None,
    "a: !!str 5": "5",
    "a: !!int 5": 5,
    "a: 'quoted # here'": "quoted # here",
    "\ufeffa: with a byte order mark": "with a byte order mark",
    "x: &b {c: 1}\na: *b": {"c": 1},
    "%YAML 1.2\n---\na: with a directive\n...": "with a directive",
}
REFUSED = {
    "a tag for bytes": "a: !!binary aGVsbG8=",
    "a tag for a set": "a: !!set {b, c}",
    "a tag for pairs": "a: !!omap [b: 1]",
    "a tag for an instant": "a: !!timestamp 2026-01-05",
    "a tag of Python": "a: !!python/object/apply:os.system [id]",
    "a tag of one's own": "a: !secret b",
    "a tag that does not fit": "a: !!int yes",
    "a number by tag in base 60": "a: !!int '12:30'",
    "a number by tag with a line end": 'a: !!int "5\\n"',
    "infinity by tag": "a: !!float .inf",
    "truth by tag": "a: !!bool maybe",
    "a null by tag": "a: !!null b",
    "a mapping's tag on a list": "a: !!map [b]",
    "a list's tag on a mapping": "a: !!seq {b: c}",
    "an alias that holds itself": "a: &a [*a]",
    "a mapping that holds itself": "a: &a {b: *a}",
    "an alias of nothing": "a: *b",
    "a merge key": "b: &b {c: 1}\na: {<<: *b}",
    "a merge key by tag": "a: {!!merge x: {b: c}}",
    "a deep list": "a: " + "[" * 50 + "]" * 50,
    "a very deep list": "a: " + "[" * 5000 + "]" * 5000,
    "a deep block": "a:\n" + "".join(" " * n + "- \n" for n in range(1, 2000)),
    "aliases that unfold": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join(f'*a{n - 1}' for _ in range(9))}]\n" for n in range(1, 9)),
    "an integer of 65 bits": "a: 9223372036854775808",
    "an integer of 5000 digits": "a: " + "9" * 5000,
    "a number beyond floats": "a: 1e999",
    "a key twice": "a: 1\na: 2",
    "a key twice in an inner mapping": "a: {b: 1, b: 2}",
    "a number as a key": "1: a",
    "a null as a key": "~: a",
    "a list as a key": "[a, b]: c",
    "a mapping as a key": "{a: b}: c",
    "a tab for a space": "a:\n\tb: 1",
    "several documents": "a: 1\n---\na: 2",
    "no document": "",
    "a list": "- a",
    "a string": "a",
    "a nul": 'a: "\\0"',
    "half a surrogate pair": 'a: "\\ud800"',
    "an escape beyond Unicode": 'a: "\\U00110000"',
    "an unknown escape": 'a: "\\q"',
    "a control character": "a: \x07",
    "an open quote": "a: 'b",
    "an open list": "a: [b",
    "a version beyond numbers": "%YAML 1." + "9" * 5000 + "\n---\na: 1",
    "a version of the future": "%YAML 3.0\n---\na: 1",
}


@pytest.mark.promise("X2")
@pytest.mark.parametrize(("text", "meant"), AS_MEANT.items(), ids=AS_MEANT)
def test_a_value_is_read_as_it_is_written(text: str, meant: object) -> None:
    """Nothing is an octal number, a date or a truth that does not say so."""
    found = yaml12.parse(text, name="file")["a"]

    assert (found, type(found)) == (meant, type(meant))


@pytest.mark.promise("X2")
@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_a_configuration_has_no_use_for_is_refused_in_one_sentence(text: str) -> None:
    """With the name of the file, on one line, never by a traceback."""
    with pytest.raises(Refused, match=r"^file ") as refused:
        yaml12.parse(text, name="file")

    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_refusal_names_line_and_column() -> None:
    """Counted from one, as editors do."""
    with pytest.raises(Refused, match=r"^file is not valid YAML, line 3, column 3: the key"):
        yaml12.parse("a:\n  b: 1\n  b: 2\n", name="file")


@pytest.mark.promise("X2")
@pytest.mark.parametrize(
    "data",
    [b"a: \xff", "a: b".encode("utf-16"), b"a: \xed\xa0\x80", b"\x00", b"\x89PNG\r\n\x1a\n"],
    ids=["latin-1", "UTF-16", "a surrogate", "nul", "an image"],
)
def test_a_file_that_is_no_utf_8_is_refused(tmp_path: Path, data: bytes) -> None:
    """Named, in one sentence."""
    path = tmp_path / "twintide.yaml"
    path.write_bytes(data)

    with pytest.raises(Refused, match=r"twintide\.yaml"):
        load(path)


SIGNS = (": ", "- ", "[", "]", "{", "}", ",", "'", '"', "\\", "#", "~", "\t", "\n", "\n  ", "---\n")
SCALARS = ("a", "kafka", "events", "model", "1", "0x1", "1e9", ".nan", "-1", "true", "null")
RARE = (
    "&a ",
    "*a",
    "!!set ",
    "!!binary ",
    "!x ",
    "<<: ",
    "? ",
    "| ",
    ">",
    "...",
    "%YAML ",
    "\ufeff",
)
PIECES = (*SIGNS, *SCALARS, *RARE)
TEXTS = [path.read_text() for path in CONFIGS]


def fragments(rng: random.Random) -> str:
    """Words of YAML in any order, now and then a character of any alphabet among them."""
    found = rng.choices(PIECES, k=rng.randrange(40))
    if rng.random() < 0.3:
        found.append(chr(rng.choice([rng.randrange(128), rng.randrange(2**16)])))
        rng.shuffle(found)
    return "".join(found)


def changed_config(rng: random.Random) -> str:
    """A part of a shipped configuration with a few pieces removed, doubled or put in. Mostly a
    small part: the parser takes 8 ms for a whole one, and errs no less on 300 characters.
    """
    text = rng.choice(TEXTS)
    if rng.random() < 0.95:
        lines = text.splitlines(keepends=True)
        begin = rng.randrange(len(lines))
        text = "".join(lines[begin : begin + rng.randrange(1, 12)])
    for _ in range(rng.randrange(1, 5)):
        begin = rng.randrange(len(text) + 1)
        end = min(len(text), begin + rng.randrange(60))
        put = rng.choice([fragments(rng)[:20], text[begin:end] * 2, rng.choice(PIECES), ""])
        text = text[:begin] + put + text[end:]
    return text


def check_texts(seeds: range) -> None:
    """What a fuzzer asks: no other exception than Refused, and nothing but plain JSON."""
    for seed in seeds:
        rng = random.Random(seed)
        text = rng.choice([fragments, changed_config])(rng)
        try:
            value = yaml12.parse(text, name="file")
        except Refused as refused:
            said = str(refused)
        else:
            said = json.dumps(value, allow_nan=False)
            assert json.loads(said) == value, f"seed {seed}"
        assert "\n" not in said, f"seed {seed}"


@pytest.mark.promise("X2")
def test_any_text_is_read_or_refused() -> None:
    """Words of YAML in any order, and parts of shipped configurations with pieces changed, 2,000
    times.
    """
    check_texts(range(2_000))


SOME_TEXT = st.sampled_from([*AS_MEANT, *SCALARS, "1e3", "12:30", "0o17", "yes", "<<", "=", "null"])
ANY_TEXT = SOME_TEXT | st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=8
)
ANY_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | ANY_TEXT
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(values=st.dictionaries(ANY_TEXT.filter(lambda key: key != "<<"), ANY_VALUE, max_size=3))
def test_what_is_printed_is_read_back_as_it_was(values: dict[str, object]) -> None:
    """Whatever looks like a number, a truth or a null is quoted; `<<` alone is no key."""
    text = yaml12.dump(values)
    if "<<" in json.dumps(values):
        return

    found = yaml12.parse(text, name="printed")

    assert found == values
    assert json.dumps(found) == json.dumps(values)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.promise("X2")
def test_any_text_is_read_or_refused_at_length() -> None:
    """The same, 200,000 times."""
    check_texts(range(1_000_000, 1_200_000))
