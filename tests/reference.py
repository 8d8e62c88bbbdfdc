"""Writes docs/configuration.md: every key of a configuration, from the code that reads it.

    python -m tests.reference

A key's text is the docstring below it; the page never says anything that the code does not.
"""

import ast
import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from types import UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import to_json

from twintide import events, features, frequency, losses, negatives, towers
from twintide.config import Deployment
from twintide.config.training import TableRates
from twintide.modelspec import TableSpec
from twintide.objectives import Objective

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
HEAD = """\
# Configuration

One YAML file describes a deployment. `twintide config show > twintide.yaml` writes one to start
from, `twintide config check -c FILE` says all that is wrong with it, in itself and on this machine,
and `twintide config show --defaults` prints what each key is where a file leaves it out. This page
is made by `python -m tests.reference` from the code that reads the file.

Unknown keys are refused. YAML is read as it looks: `12:30` and `no` are strings, a key occurs once,
there are no merge keys, and no tags but `!!str`, `!!int`, `!!float`, `!!bool`, `!!null`. Secrets
are never in the file: a key that ends in `_env` names the environment variable that holds one.
Relative paths start at the folder of the file. Units stand in the names.
"""
COLUMN_TYPES = """\
### Column types

| type | in a message, a file | in a shard | a feature may read it as |
|---|---|---|---|
| `string` | a string | UTF-8 | `sparse` |
| `int64` | a whole number of 64 bits | int64 | `sparse`, `dense` |
| `float64` | a finite number | double | `dense` |
| `bool` | true or false | bool | `sparse`, `dense` |
| `timestamp_ms` | an instant, as `times` and `time_zone` say | timestamp, UTC | |
| `list<string>` | a list of strings | list | `varlen`, ids of `weighted_varlen` |
| `list<int64>` | a list of whole numbers | list | `varlen`, ids of `weighted_varlen` |
| `list<float64>` | a list of finite numbers | list | weights of `weighted_varlen` |

Names and types of columns bind shards: a column that joins later is null in older shards, one that
changes its type is refused. Where a column lies and what its times look like (`paths`, `times`,
`time_zone`) binds nothing: what comes to mean something else wants another name. Everything else in
`events`, and the features of `model`, bind slices, which are made anew from the shards.
"""


def page() -> str:
    """The page, from the code as it is."""
    parts = [HEAD, _table("", Deployment, leave_out=set(_sections()))]
    for name, section in _sections().items():
        parts.append(f"## {name}\n\n{_paragraph(section.__doc__)}\n")
        parts.append(_table(f"{name}.", section))
        parts += {"events": [COLUMN_TYPES], "model": _kinds(), "training": _rates()}.get(name, [])
    return "\n".join(parts)


def _sections() -> dict[str, type[BaseModel]]:
    fields = Deployment.model_fields.items()
    return {name: field.annotation for name, field in fields if _is_section(field.annotation)}


def _kinds() -> Iterator[str]:
    yield f"### Tables\n\nEach entry of `model.tables`. {_paragraph(TableSpec.__doc__)}\n"
    yield _table("", TableSpec)
    yield "### Features\n\nEach entry of `model.query` and `model.candidate` has a `kind`.\n"
    yield from _each_of(features.Feature)
    yield "### Towers\n\nEach of `model.tower`, `query_tower` and `candidate_tower` has a `kind`.\n"
    yield from _each_of(towers.AnyTower)
    yield "### Losses\n\n`model.loss` has a `kind`; docs/models.md says which when.\n"
    yield from _each_of(losses.AnyLoss)
    yield "### Frequencies\n\n`model.frequency` has a `kind`.\n"
    yield from _each_of(frequency.AnyFrequency)
    yield "### Negatives\n\nEach entry of `model.negatives` has a `kind`.\n"
    yield from _each_of(negatives.AnySource)
    yield f"### Objectives\n\nEach entry of `model.objectives`. {_paragraph(Objective.__doc__)}\n"
    yield _table("", Objective)
    places = "`events.positive`, an objective's `positive`, each of `model.scenarios`"
    yield f"### Conditions\n\n{places}. {_paragraph(events.Condition.__doc__)}\n"
    yield _table("", events.Condition)


def _rates() -> Iterator[str]:
    places = "Each entry of `training.hourly.tables` and `training.nightly.tables`"
    yield f"### Rates of a table\n\n{places}. {_paragraph(TableRates.__doc__)}\n"
    yield _table("", TableRates)


def _each_of(kinds: Any) -> Iterator[str]:
    for kind in get_args(get_args(kinds)[0]):
        (name,) = get_args(kind.model_fields["kind"].annotation)
        yield f"#### kind: {name}\n\n{_paragraph(kind.__doc__)}\n"
        yield _table("", kind, leave_out={"kind"})


def _table(before: str, model: type[BaseModel], *, leave_out: Collection[str] = ()) -> str:
    lines = ["| key | type | default | |", "|---|---|---|---|"]
    return "\n".join([*lines, *_rows(before, model, leave_out)]) + "\n"


def _rows(before: str, model: type[BaseModel], leave_out: Collection[str]) -> Iterator[str]:
    texts = texts_of(model)
    for name, field in model.model_fields.items():
        if name in leave_out:
            continue
        if _is_section(field.annotation):
            yield from _rows(f"{before}{name}.", field.annotation, ())
            continue
        default = "must be given" if field.is_required() else f"`{_shown(field.default)}`"
        kind = _type(field.annotation, field.metadata)
        yield f"| `{before}{name}` | {kind} | {default} | {_paragraph(texts.get(name))} |"


def texts_of(model: type[BaseModel]) -> dict[str, str]:
    """Key -> the docstring below it."""
    texts: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            texts |= _texts_in(each)
    return texts


def _texts_in(model: type[BaseModel]) -> dict[str, str]:
    (tree,) = ast.parse(dedent(inspect.getsource(model))).body
    texts: dict[str, str] = {}
    for field, text in pairwise(tree.body if isinstance(tree, ast.ClassDef) else []):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(words))),
            ):
                texts[name] = words
    return texts


def _is_section(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


_NAMES: dict[Any, str] = {
    str: "string",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    type(None): "null",
    features.Feature: "a feature",
    towers.AnyTower: "a tower",
    get_args(towers.AnyTower)[0]: "a tower",
    get_args(losses.AnyLoss)[0]: "a loss",
    get_args(frequency.AnyFrequency)[0]: "an estimator",
    events.ZoneName: "IANA name",
    events.Condition: "a condition",
    Objective: "an objective",
    TableSpec: "a table",
    TableRates: "rates",
}


def _type(kind: Any, metadata: Sequence[Any] = ()) -> str:
    if kind in _NAMES:
        return _NAMES[kind] + _bounds(metadata)
    if _is_section(kind):
        fields = kind.model_fields.items()
        inner = (f"`{name}`: {_type(each.annotation, each.metadata)}" for name, each in fields)
        return "{" + ", ".join(inner) + "}"
    return _OF_ORIGIN[get_origin(kind)](get_args(kind)) + _bounds(metadata)


def _one_of(kinds: Sequence[Any]) -> str:
    return " or ".join(dict.fromkeys(map(_type, kinds)))


_OF_ORIGIN: dict[Any, Callable[[Sequence[Any]], str]] = {
    Annotated: lambda parts: _type(parts[0], parts[1:]),
    Literal: lambda values: " or ".join(f"`{each}`" for each in values),
    tuple: lambda kinds: f"list of {_type(kinds[0])}",
    dict: lambda kinds: f"mapping to {_type(kinds[1])}",
    Union: _one_of,
    UnionType: _one_of,
}


def _bounds(metadata: Sequence[Any]) -> str:
    """Such as `, at least 1 and at most 60`."""
    constraints = [part for each in metadata for part in getattr(each, "metadata", [each])]
    told = [
        f"{words} {getattr(each, sign):g}"
        for each in constraints
        for sign, words in _SIGNS.items()
        if hasattr(each, sign)
    ]
    return f", {' and '.join(told)}" if told else ""


_SIGNS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def _shown(value: Any) -> str:
    return to_json(value).decode()


def _paragraph(text: str | None) -> str:
    return " ".join(inspect.cleandoc(text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
