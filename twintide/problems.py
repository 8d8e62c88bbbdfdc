"""What is wrong with a configuration: each problem names its key, a reason and a hint.

All problems of a file are told at once, in our words: what pydantic calls them is translated here.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from twintide.errors import Refused

SECRET_KEYS = ("password", "token", "username", "secret", "_env")
"""A value whose key holds one of these is never shown: it may be the secret itself."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    key: str
    """Such as kafka.topic; a feature is named, not numbered: model.query.user.column."""

    reason: str
    """Goes on after the key: `must be a whole number`."""

    hint: str = ""
    reads: tuple[str, ...] = ()
    """Other keys that it depends on: where one of those is wrong, this is not told yet."""

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}" if self.key else self.reason


class Misconfigured(Refused):
    """A configuration with problems: all of them."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        if len(self.problems) == 1:
            super().__init__(f"{name}: {first}", hint=first.hint or _HINT)
            return
        lines = [f"  {each}{f' ({each.hint})' if each.hint else ''}" for each in self.problems]
        super().__init__(f"{name} has {len(lines)} problems:\n" + "\n".join(lines), hint=_HINT)


_HINT = "`twintide config show --defaults` prints every key with its default"


def overlap(one: str, other: str) -> bool:
    """Whether two keys are the same, or one is inside the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def told(problems: Iterable[Problem], *, before: Sequence[Problem]) -> list[Problem]:
    """Those that do not follow from what is said already, each once."""
    wrong = [each.key for each in before]
    return [
        each
        for each in dict.fromkeys(problems)
        if not any(overlap(bad, key) for bad in wrong for key in (each.key, *each.reads))
    ]


def from_pydantic(
    error: dict[str, Any], section: str, values: Any, known_keys: Sequence[str]
) -> Problem:
    """One of pydantic's errors in our words."""
    path = path_in(values, error["loc"])
    key = ".".join([section, *_named(values, path)])
    words = _WORDS.get(error["type"])
    reason = words(error.get("ctx", {})) if words else "does not belong here"
    if error["type"] in _SHOWS_ITS_VALUE and not any(word in key for word in SECRET_KEYS):
        reason += f"; it is {_shown(error['input'])}"
    if error["type"] == "extra_forbidden":
        return Problem(key, reason, did_you_mean(key, known_keys))
    return Problem(key, reason)


def did_you_mean(key: str, known_keys: Sequence[str]) -> str:
    """The key that was probably meant, or nothing."""
    if key in known_keys:
        return f"it is a key of another kind; {_HINT}"
    last = key.rpartition(".")[2]
    elsewhere = [each for each in known_keys if each.rpartition(".")[2] == last]
    near = difflib.get_close_matches(key, known_keys, n=1, cutoff=0.8)
    for found in (*near, *elsewhere):
        return f"did you mean {found}? {_HINT}"
    return ""


def path_in(values: Any, loc: Sequence[str | int]) -> list[str | int]:
    """The part of pydantic's place that is in the file: it also names the branches of unions."""
    path: list[str | int] = []
    for part in loc:
        inside = values if isinstance(values, dict) else dict(enumerate(_items(values)))
        if part in inside:
            path.append(part)
            values = inside[part]
        elif part == loc[-1] and isinstance(values, dict):
            path.append(part)  # what is missing
    return path


def _items(values: Any) -> list[Any]:
    return values if isinstance(values, list) else []


def _named(values: Any, path: Sequence[str | int]) -> list[str]:
    """The path with features by their names, where they have one."""
    names: list[str] = []
    for part in path:
        try:
            values = values[part]
        except (KeyError, TypeError):
            values = None
        name = values.get("name") if isinstance(values, dict) else None
        names.append(name if isinstance(part, int) and isinstance(name, str) else str(part))
    return names


_Context = dict[str, Any]
_SHOWS_ITS_VALUE = frozenset(
    {"string_type", "int_type", "int_from_float", "float_type", "bool_type", "literal_error"}
    | {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "path_type"}
)
_WORDS: dict[str, Callable[[_Context], str]] = {
    "missing": lambda _: "is missing",
    "extra_forbidden": lambda _: "is no key that this section has",
    "string_type": lambda _: "must be a string",
    "path_type": lambda _: "must be a path",
    "int_type": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "bool_type": lambda _: "must be true or false",
    "tuple_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be a mapping of keys to values",
    "model_type": lambda _: "must be a mapping of keys to values",
    "model_attributes_type": lambda _: "must be a mapping of keys to values",
    "literal_error": lambda context: f"must be one of {context['expected']}",
    "greater_than": lambda context: f"must be more than {context['gt']:g}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']:g}",
    "less_than": lambda context: f"must be less than {context['lt']:g}",
    "less_than_equal": lambda context: f"must be at most {context['le']:g}",
    "too_short": lambda context: f"must hold at least {context['min_length']}",
    "too_long": lambda context: f"must hold at most {context['max_length']}",
    "string_too_short": lambda context: f"must have at least {context['min_length']} characters",
    "string_too_long": lambda context: f"must have at most {context['max_length']} characters",
    "union_tag_invalid": lambda context: f"has a kind that is none of {context['expected_tags']}",
    "union_tag_not_found": lambda _: "needs a kind",
    "value_error": lambda context: str(context["error"]),
}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004  fits on a line
