"""The rules that machines check catch what they are for: one that cannot fail proves nothing."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BANNED = {
    "pickle": "import pickle",
    "torch.load": "import torch\n\ntorch.load('x')",
    "plain YAML": "import yaml\n\nyaml.safe_load('a: 12:30')",
    "wall clock": "import time\n\ntime.time()",
    "wall clock date": "from datetime import UTC, datetime\n\ndatetime.now(UTC)",
    "overwriting rename": "import os\n\nos.replace('a', 'b')",
    "link": "import os\n\nos.link('a', 'b')",
    "unchecked index": "import faiss\n\nfaiss.read_index('x')",
    "mock": "from unittest.mock import MagicMock",
}
MAY_USE_BANNED = {
    "twintide/files.py",
    "twintide/clock.py",
    "twintide/yaml12.py",
    "publisher/index/faiss/index.py",
}


def findings(code: str, *, path: str) -> str:
    """What ruff says of the code, were it that file."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise"]
    done = subprocess.run(
        [*command, f"--stdin-filename={path}", "-"],
        input=code,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("code", BANNED.values(), ids=BANNED.keys())
def test_what_is_banned_is_found(code: str) -> None:
    """Written into a stage or a test, it fails `make lint`."""
    assert "TID251" in findings(code + "\n", path="trainer/anything.py")
    assert "TID251" in findings(code + "\n", path="tests/trainer/test_anything.py")


def test_only_the_named_modules_may_use_what_is_banned() -> None:
    """One module for the disk, one for the clock, one for YAML, one for index files."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        ignores = tomllib.load(file)["tool"]["ruff"]["lint"]["per-file-ignores"]

    assert {path for path, rules in ignores.items() if "TID251" in rules} == MAY_USE_BANNED


def test_every_lint_exception_of_the_project_has_its_reason() -> None:
    """Who meets a rule that is off reads why beside it, or above its group."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text.split("[tool.ruff.lint]")[1].split("[tool.ruff.lint.flake8-builtins]")[0]

    explained = False
    for line in block.splitlines():
        code = line.strip()
        if code.startswith("#") or "  # " in code:
            explained = True
        elif not code.startswith('"') or code.endswith("["):
            explained = False
        else:
            assert explained, line


def every_test() -> list[tuple[Path, ast.FunctionDef]]:
    return [
        (path, node)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def test_every_test_says_what_it_promises() -> None:
    """Its name is the promise, its docstring the behaviour that a reader may rely on."""
    silent = [
        f"{path.relative_to(ROOT)}::{test.name}"
        for path, test in every_test()
        if not ast.get_docstring(test)
    ]

    assert silent == []


def test_test_files_have_names_of_their_own() -> None:
    """Folders of tests are no packages, so that two files of one name would be confused."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]

    assert sorted(names) == sorted(set(names))


def test_nothing_names_the_machine_it_was_written_on() -> None:
    """A clone works anywhere: no absolute path of a checkout or of a home folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    if not listed:
        pytest.skip("not a git checkout")
    told = [
        name
        for name in listed.split("\0")
        if name
        and (ROOT / name).is_file()
        and Path(name) != Path(__file__).relative_to(ROOT)
        and any(path in (ROOT / name).read_bytes() for path in (b"/work/", b"/root/", b"/home/"))
    ]

    assert told == []
