"""YAML without the surprises of YAML 1.1: `12:30` is a string, `no` is a string, a key occurs once.

Only `true`, `false`, `null`, `~`, decimal integers and decimal numbers are anything but strings.
What a configuration has no use for (other tags, merge keys, aliases that hold themselves, numbers
beyond 64 bits) is refused by line and column. So a value is always plain JSON.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import yaml

from twintide.errors import Refused

MAX_DEPTH = 40
MAX_VALUES = 100_000
"""Aliases count as often as they are used: a small file may not unfold into a large one."""

_CORE = "tag:yaml.org,2002:"
_INT64 = range(-(2**63), 2**63)
_TOO_DEEP = "values are nested too deeply, or an alias holds itself"
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class _Refusal(Exception):
    """What is wrong with one node."""

    def __init__(self, problem: str, node: yaml.Node) -> None:
        super().__init__(problem)
        self.problem, self.mark = problem, node.start_mark


class _Loader(yaml.SafeLoader):
    """Gives nodes only, with the implicit types of YAML 1.2's core schema."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Stops early: what is nested a thousandfold takes seconds to scan."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, _TOO_DEEP, mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


_IMPLICIT = {
    "bool": (r"^(?:true|false)$", "tf"),
    "int": (r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    "float": (
        r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$",
        "-+.0123456789",
    ),
    "null": (r"^(?:null|~|)$", ["n", "~", ""]),
}


class _Dumper(yaml.SafeDumper):
    """Quotes strings that this module or a reader of YAML 1.1 would take for something else."""


_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _IMPLICIT.items():
    for _resolver in (_Loader, _Dumper):
        _resolver.add_implicit_resolver(_CORE + _name, re.compile(_pattern), list(_first))


def parse(text: str, *, name: str) -> dict[str, Any]:
    """The mapping that `text` holds. Raises Refused, with line and column, where it is none."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        value = None if node is None else _Reading().value(node)
    except _Refusal as refusal:
        raise _refused(name, refusal.problem, refusal.mark) from None
    except yaml.MarkedYAMLError as error:
        problem = ", ".join(part for part in (error.problem, error.context) if part)
        raise _refused(name, problem, error.problem_mark or error.context_mark) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # An escape beyond Unicode, a directive with a huge number: Python's own words, on one line.
        raise _refused(name, " ".join(str(error).split()), None) from None
    if not isinstance(value, dict):
        raise Refused(
            f"{name} holds no mapping of sections", hint="start from a file of `configs/`"
        )
    return value


def dump(values: dict[str, Any]) -> str:
    """Text that `parse` reads back as it was, keys in their order."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def _refused(name: str, problem: str, mark: yaml.Mark | None) -> Refused:
    where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return Refused(f"{name} is not valid YAML{where}: {problem}", hint="mend what it names")


class _Reading:
    """Turns the nodes of one file into values."""

    def __init__(self) -> None:
        self._values = 0

    def value(self, node: yaml.Node, depth: int = 0) -> Any:
        self._values += 1
        if depth > MAX_DEPTH or self._values > MAX_VALUES:
            raise _Refusal(_TOO_DEEP, node)
        read = _READERS.get((type(node), node.tag))
        if read is None:
            raise _Refusal(f"the tag {_short(node.tag)} has no meaning here", node)
        return read(self, node, depth)

    def sequence(self, node: yaml.SequenceNode, depth: int) -> list[Any]:
        return [self.value(each, depth + 1) for each in node.value]

    def mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.value(key_node, depth + 1)
            if not isinstance(key, str):
                raise _Refusal(f"the key {key!r} is not a string: put it in quotes", key_node)
            if key == "<<":
                raise _Refusal("merge keys (<<) are not read: write the keys out", key_node)
            if key in found:
                raise _Refusal(f"the key {key!r} occurs twice", key_node)
            found[key] = self.value(value_node, depth + 1)
        return found

    def text(self, node: yaml.ScalarNode, _depth: int) -> str:
        text = str(node.value)
        if _UNPRINTABLE.search(text):
            raise _Refusal("a string holds a control character or half a character", node)
        return text

    def whole(self, node: yaml.ScalarNode, _depth: int) -> int:
        _check_form(node, "int")
        if len(node.value) > len(str(2**64)) or int(node.value) not in _INT64:
            raise _Refusal("a whole number is too large for 64 bits", node)
        return int(node.value)

    def decimal(self, node: yaml.ScalarNode, _depth: int) -> float:
        _check_form(node, "float")
        number = float(node.value)
        if not math.isfinite(number):
            raise _Refusal("a number is too large for 64 bits", node)
        return number

    def truth(self, node: yaml.ScalarNode, _depth: int) -> bool:
        _check_form(node, "bool")
        return bool(node.value == "true")

    def nothing(self, node: yaml.ScalarNode, _depth: int) -> None:
        _check_form(node, "null")


_READERS: dict[tuple[type[yaml.Node], str], Callable[[_Reading, Any, int], Any]] = {
    (yaml.MappingNode, _CORE + "map"): _Reading.mapping,
    (yaml.SequenceNode, _CORE + "seq"): _Reading.sequence,
    (yaml.ScalarNode, _CORE + "str"): _Reading.text,
    (yaml.ScalarNode, _CORE + "int"): _Reading.whole,
    (yaml.ScalarNode, _CORE + "float"): _Reading.decimal,
    (yaml.ScalarNode, _CORE + "bool"): _Reading.truth,
    (yaml.ScalarNode, _CORE + "null"): _Reading.nothing,
}
"""What a node may be, and what reads it; everything else has no meaning in a configuration."""


def _check_form(node: yaml.ScalarNode, kind: str) -> None:
    """A tag may name another kind than the text has: `!!int yes`."""
    if not re.fullmatch(_IMPLICIT[kind][0], node.value):
        raise _Refusal(f"{_short(node.value)} is no {kind}", node)


def _short(text: str) -> str:
    shown = text.replace(_CORE, "!!")
    return repr(shown if len(shown) <= 40 else shown[:40] + "…")  # noqa: PLR2004  fits on a line
