"""The rules of the house that a reader would otherwise have to watch over; CONTRIBUTING.md tells them."""

import ast
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from sources import MODULES, PACKAGE, nodes, parsed

from scripts import module_table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MODULE_LINES, FUNCTION_LINES = 350, 60


def place(path):
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def definitions(tree):
    """(dotted name, node) of classes and functions that others may use: none inside a function."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from ((f"{node.name}.{inner}", found) for inner, found in definitions(node))


def is_public(name):
    return not any(part.startswith("_") for part in name.split("."))


def is_dataclass(node):
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def fields_without_docstring(node):
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and not field.target.id.startswith("_"):
            told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if not told or not isinstance(after.value.value, str):
                yield field.target.id


@pytest.mark.slow
def test_every_field_of_a_public_dataclass_tells_what_it_holds():
    silent = [
        f"{place(path)}: {name}.{field}"
        for path in MODULES
        for name, node in definitions(parsed(path))
        if isinstance(node, ast.ClassDef) and is_public(name) and is_dataclass(node)
        for field in fields_without_docstring(node)
    ]
    assert silent == [], "put a docstring under these fields"


@pytest.mark.slow
def test_every_module_class_and_function_says_what_it_is():
    silent = [place(path) for path in MODULES if path.name != "__main__.py" and not ast.get_docstring(parsed(path))]
    silent += [
        f"{place(path)}: {name}"
        for path in MODULES
        for name, node in definitions(parsed(path))
        if is_public(name) and not ast.get_docstring(node) and not is_of_a_protocol(node)
    ]
    assert silent == [], "say what these are"


def test_no_two_public_classes_share_a_name():
    """One word for one idea: a reader who meets a name knows which one is meant."""
    homes = {}
    for path in MODULES:
        for name, node in definitions(parsed(path)):
            if isinstance(node, ast.ClassDef) and is_public(name):
                homes.setdefault(node.name, []).append(place(path))
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def is_of_a_protocol(node):
    """Whether a body is no more than `...`, which its protocol tells."""
    return ast.unparse(node.body[-1]) == "..."


def test_no_module_and_no_function_is_longer_than_a_reader_holds():
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {module: lines for module, lines in lengths.items() if lines > MODULE_LINES} == {}, "split these"
    lengths = {
        f"{place(path)}.{name}": node.end_lineno - node.body[0].lineno + 1  # a signature that Typer reads is no logic
        for path in MODULES
        for name, node in definitions(parsed(path))
        if not isinstance(node, ast.ClassDef)
    }
    assert {function: lines for function, lines in lengths.items() if lines > FUNCTION_LINES} == {}, "split these"


@pytest.mark.slow
def test_no_test_takes_a_private_name():
    """A name with an underscore is free to change; what a test needs is public, or is not needed."""
    taken = set()
    for path in TESTS:
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom):
                taken |= {f"{path.stem}: {alias.name}" for alias in node.names if re.match("_[^_]", alias.name)}
            elif isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr) and not own(node.value):
                name = ast.unparse(node)
                taken |= {f"{path.stem}: {name}"} - {f"{path.stem}: os._exit"}
    assert taken == set()


def own(value):
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def test_no_file_holds_a_path_of_one_machine():
    folder = "/" + "work" + "/"
    texts = [
        *ROOT.glob("[!.]*.*"),
        *(p for part in ("docs", ".github", ".ci") for p in (ROOT / part).rglob("*")),
        *TESTS,
    ]
    texts += [p for part in ("segearth_cli", "benchmarks", "scripts") for p in (ROOT / part).rglob("*.[pj][ys]*")]
    texts = [p for p in texts if p.is_file() and p.suffix not in (".png", ".pyc")]
    holders = [p for p in texts if folder in p.read_text(encoding="utf-8")]
    assert holders == []


def test_no_tracked_file_holds_what_a_merge_left_to_decide():
    marks = tuple(mark * 7 + b" " for mark in (b"<", b"|", b">"))
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("no checkout of git")
    files = [ROOT / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    texts = {path: path.read_bytes() for path in files if path.is_file()}
    held = [path for path, text in texts.items() if any(line.startswith(marks) for line in text.split(b"\n"))]
    assert held == []


@pytest.mark.slow
def test_every_library_that_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *extras["parquet"],
        *extras["dask"],
        *extras["cloud"],
        *extras["notebook"],
        *extras["fast"],
    ]
    declared = {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in wanted}
    known = {name: {d.lower().replace("_", "-") for d in found} for name, found in packages_distributions().items()}
    missing = set()
    for path in MODULES:
        for node in nodes(path):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"segearth_cli"}:
                if not known.get(top, {top}) & declared and top not in COMES_WITH:
                    missing.add(f"{place(path)} imports {top}")
    assert missing == set()


COMES_WITH = {"triton": "torch, on the machines it runs on", "dask": "distributed"}


@pytest.mark.slow
def test_the_architecture_lists_every_module():
    written = module_table.PAGE.read_text(encoding="utf-8")
    assert written == module_table.page(), "run `make docs`"
