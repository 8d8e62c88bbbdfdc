"""Read a configuration file: each section by itself, then what fits together."""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from twintide import declaration, yaml12
from twintide.config.deployment import Deployment
from twintide.config.pace import paced
from twintide.errors import Refused
from twintide.problems import (
    Misconfigured,
    Problem,
    did_you_mean,
    from_pydantic,
    overlap,
    path_in,
    told,
)


def load(path: Path) -> Deployment:
    """Read and check a configuration file. Raises Refused, naming each wrong key."""
    return _deployment(*examine(path), name=str(path))


def examine(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """The sections of a file as far as they can be read, and all that is wrong with them.

    Raises Refused where the file is missing or holds no YAML.
    """
    return _examined(values_in(path), folder=path.parent.resolve())


def values_in(path: Path) -> dict[str, Any]:
    """What a file says, unchecked. Raises Refused where it is missing or holds no YAML."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise Refused(
            f"there is no file {path}", hint="`configs/quickstart.yaml` is a file to start from"
        ) from None
    except (OSError, ValueError) as error:
        raise Refused(
            f"{path} cannot be read: {error}", hint="a configuration is a text file in UTF-8"
        ) from error
    return yaml12.parse(text, name=str(path))


def parse(values: dict[str, Any], *, name: str) -> Deployment:
    """Check values as they come out of YAML. Raises Refused with every problem, by its key."""
    return _deployment(*_examined(values, folder=None), name=name)


def _deployment(sections: dict[str, Any], problems: list[Problem], *, name: str) -> Deployment:
    if problems:
        raise Misconfigured(name, problems)
    return Deployment(**sections)


def _examined(
    values: dict[str, Any], *, folder: Path | None
) -> tuple[dict[str, Any], list[Problem]]:
    """Each section by itself, then what fits together; relative paths start at `folder`."""
    problems = [
        Problem(key, "is no section", did_you_mean(key, KEYS))
        for key in values
        if key not in Deployment.model_fields
    ]
    sections: dict[str, Any] = {}
    for section in Deployment.model_fields:
        found, wrong = _section(section, values)
        problems += wrong
        sections |= found
    if folder is not None:
        sections = _beside(sections, folder)
    sections = _at_its_pace(sections)
    for problem in told(declaration.problems_of(sections), before=problems):
        if not any(overlap(each.key, read) for each in problems for read in problem.reads):
            problems.append(problem)
    return sections, problems


def _section(section: str, values: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """One section, and what is wrong in it. Wrong keys are left out, so that the rules can look at
    the rest; a section that cannot be read without them is not there.
    """
    field = Deployment.model_fields[section]
    if section not in values:
        if field.is_required():
            return {}, [Problem(section, "is missing", "start from a file of `configs/`")]
        return {section: field.default}, []
    given = values[section]
    problems: list[Problem] = []
    for _ in range(_ROUNDS):
        try:
            # Only from JSON does strict pydantic take a list for a tuple and a string for a path.
            return {section: _adapter(section).validate_json(json.dumps(given))}, problems
        except ValidationError as error:
            errors: list[dict[str, Any]] = [dict(each) for each in error.errors(include_url=False)]
            for each in errors:
                problems += told([from_pydantic(each, section, given, KEYS)], before=problems)
            given = _without(given, errors)
    return {}, problems


@lru_cache
def _adapter(section: str) -> TypeAdapter[Any]:
    """What reads one section alone."""
    field = Deployment.model_fields[section]
    kind: Any = Annotated[field.annotation, *field.metadata, Field()]
    return TypeAdapter(kind)


_ROUNDS = 3
"""Leaving out what is wrong may show more: a feature without its kind, then a side without any."""


def _without(values: Any, errors: list[dict[str, Any]]) -> Any:
    """A copy without what the errors are about; a feature with a wrong key goes as a whole."""
    values = json.loads(json.dumps(values))
    gone = {_root(path_in(values, each["loc"]), each["type"]) for each in errors}
    for path in sorted(gone, key=_last_first, reverse=True):
        if path and _at(values, path) is not None:
            del _at(values, path[:-1])[path[-1]]
    return values


def _root(path: list[str | int], kind: str) -> tuple[str | int, ...]:
    in_a_list = len(path) > 1 and isinstance(path[-1], str) and isinstance(path[-2], int)
    return tuple(path[:-1] if in_a_list and kind != "extra_forbidden" else path)


def _at(values: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        inside = values if isinstance(values, dict) else dict(enumerate(values))
        if part not in inside:
            return None
        values = inside[part]
    return values


def _last_first(path: Sequence[str | int]) -> list[tuple[str, int]]:
    return [(part, 0) if isinstance(part, str) else ("", part) for part in path]


def _keys_of(model: type[BaseModel], before: str = "") -> list[str]:
    """Every key that a section may have, with its section."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(f"{before}{name}")
        for inner in _models_in(field.annotation):
            keys += _keys_of(inner, f"{before}{name}.")
    return list(dict.fromkeys(keys))


def _models_in(kind: Any) -> Iterator[type[BaseModel]]:
    """The sections that a key may hold: one, or one of several kinds, or none."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    elif get_origin(kind) in {Annotated, Union, UnionType}:
        for each in get_args(kind):
            yield from _models_in(each)


KEYS = tuple(_keys_of(Deployment))


def _beside(sections: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Relative paths count from the folder of the configuration file."""
    beside = dict(sections)
    if "data_dir" in sections:
        beside["data_dir"] = (folder / sections["data_dir"]).resolve()
    for name in ("folders", "kafka", "items"):
        if name in sections:
            paths = {
                key: folder / value for key, value in sections[name] if isinstance(value, Path)
            }
            beside[name] = sections[name].model_copy(update=paths)
    if "model" in sections:
        beside["model"] = sections["model"].beside(folder)
    return beside


def _at_its_pace(sections: dict[str, Any]) -> dict[str, Any]:
    """Statistics are as old as versions let them become, where they do not say otherwise."""
    read: list[Any] = [sections.get(name) for name in ("model", "training", "publishing")]
    return sections if None in read else sections | {"model": paced(*read)}


def fill_in(deployment: Deployment, changes: dict[str, Any]) -> Deployment:
    """A copy with some values changed, checked like a file.

    {"kafka": {"topic": "x"}} changes one key; what becomes of another `kind` is replaced whole.
    """
    return parse(
        _merged(deployment.model_dump(mode="json"), changes), name="the changed configuration"
    )


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return values | {
        key: _merged(values[key], change) if _is_of_one_kind(values.get(key), change) else change
        for key, change in changes.items()
    }


def _is_of_one_kind(value: Any, change: Any) -> bool:
    """Whether both are sections, of which keys can be changed one by one."""
    both = isinstance(value, dict) and isinstance(change, dict)
    return both and change.get("kind", value.get("kind")) == value.get("kind")
