"""The package as its tests of form read it: its modules, each parsed once."""

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "segearth_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))


@cache
def parsed(path):
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(path):
    """All nodes of a file's syntax tree."""
    return tuple(ast.walk(parsed(path)))
