"""YAML without the surprises of YAML 1.1: `12:30` is a string, `no` is a string, a key occurs once.

Only `true`, `false`, `null`, `~`, decimal integers and decimal numbers are anything but strings.
"""

import re
from typing import Any

import yaml

from twintide.errors import Refused


class _Loader(yaml.SafeLoader):
    """SafeLoader with the implicit types of YAML 1.2's core schema, and no duplicate keys."""

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002  as PyYAML has it
    ) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"key {key!r} is not a string: put it in quotes",
                    node.value[index][0].start_mark,
                )
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} occurs twice", node.value[index][0].start_mark
                )
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    (
        "float",
        r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$",
        "-+.0123456789",
    ),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def parse(text: str, *, name: str) -> dict[str, Any]:
    """The mapping that `text` holds. Raises Refused, with line and column, where it is none."""
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506  the loader above is a SafeLoader
    except yaml.YAMLError as error:
        raise Refused(
            f"{name} is not valid YAML: {error}", hint="mend the line that it names"
        ) from error
    if not isinstance(value, dict):
        raise Refused(
            f"{name} holds no mapping of sections", hint="start from a file of `configs/`"
        )
    return value
