"""Writes docs/changes.md: what a change of each key does, from the table that the code goes by.

python -m tests.changes
"""

from collections.abc import Iterator
from pathlib import Path

from twintide.changes import TABLE, Effect

PAGE = Path(__file__).parents[1] / "docs" / "changes.md"
HEAD = """\
# Changing a configuration

What becomes of what was learnt when a key is changed. `twintide config diff -c NEW` says it of a
file and what the newest checkpoint was trained with, `--against OLD` of two files, before
anything is done. Made by `python -m tests.changes` from `twintide/changes.py`;
`tests/trainer/test_changes.py` changes each key once.

- **goes on**: all weights, tables and slices are used as they are.
- **slices are remade**: by the next run, from the shards, in a folder of their own. The old ones
  stay, and are used again where the change is taken back.
- **warm start**: what is unchanged keeps its weights, the sums of its rows and Adam's moments;
  the part in question begins anew. The run, its log and the manifest of its checkpoint (`anew`)
  say which. Where that are towers, tables or objectives, hourly passes, which change ID tables
  only, wait for the next nightly retrain; with `training.hourly.learns: everything` they begin
  them themselves. What a tower reads for the first time begins at zero, so that it changes no
  answer before it has learnt.
- **refused**: before anything is written; the message says what to do.

A key is the path in the file, `*` any name. `feature`, `tower`, `loss` and `negatives` are what
is declared under `model.query` and `model.candidate`, `model.*tower`, `model.loss` and each
objective's, `model.negatives`; then comes the kind, `*` for all that have the key. What is named
says what a change does at most.
"""


def page() -> str:
    """The page, from the table as it is."""
    return "\n".join([HEAD, "| keys | | |", "|---|---|---|", *_rows()]) + "\n"


def _rows() -> Iterator[str]:
    groups: dict[tuple[tuple[Effect, ...], str], list[str]] = {}
    for key, rule in TABLE.items():
        groups.setdefault((rule.effects, rule.why), []).append(key)
    for (effects, why), keys in groups.items():
        named = "<br>".join(f"`{key}`" for key in keys)
        yield f"| {named} | **{', '.join(effects)}** | {why} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
