"""The floors of the house: a module imports from floors below its own, and heavy libraries stay where they belong."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "segearth_cli"

FLOORS = [
    set(floor.split())
    for floor in (
        "__init__ errors",
        "grid classes console kernels files catalogue tags transfer corners ground rtree wkb regularize ahead claims",
        "fused pieces linked maskfile geopackage manifest",
        "tiles",
        "overlap",
        "raster mosaic decision rings vectors encoder upsampler metrics pairs presets sources tensors pictures",
        "weights text dataset objective recipe checkpoint model plan report strips masks shapes identity",
        "borders sieve",
        "predict vectorize learner evaluate download assemble frame",
        "jobs train ledger",
        "merge",
        "shards",
        "engine_dask engine_processes",
        "commands",
        "cli",
        "__main__",
    )
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}

# library -> the only modules that may import it at import time
HOMES = {
    "torch": {
        *("mosaic", "decision", "encoder", "fused", "tiles", "overlap", "upsampler", "objective"),
        *("tensors", "weights", "text", "dataset", "model", "learner", "checkpoint", "predict", "train", "assemble"),
    },
    "open_clip": {"encoder", "tags", "text", "weights"},
    "fiona": {"vectors"},
    "triton": {"kernels"},
}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield pytest.param(
            path, parts[0] if parts[0] != "commands" or len(parts) == 1 else "commands", id="/".join(parts)
        )


def imports(tree, *, top_level):
    nodes = tree.body if top_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "segearth_cli":
                yield from (f"segearth_cli.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize(("path", "name"), list(modules()))
def test_a_module_imports_only_from_floors_below(path, name):
    assert name in FLOOR, f"{name} has no floor: add it to FLOORS"
    for target in imports(ast.parse(path.read_text()), top_level=False):
        head, _, rest = target.partition(".")
        if head != "segearth_cli":
            continue
        below = rest.split(".")[0]
        if below not in FLOOR:  # a public name of the package itself
            below = "__init__"
        same_package = name == below == "commands"
        assert same_package or FLOOR[below] < FLOOR[name], (
            f"{name} (floor {FLOOR[name]}) imports {below} (floor {FLOOR[below]})"
        )


@pytest.mark.parametrize(("path", "name"), list(modules()))
def test_heavy_libraries_stay_in_their_modules(path, name):
    at_import = {target.partition(".")[0] for target in imports(ast.parse(path.read_text()), top_level=True)}
    anywhere = {target.partition(".")[0] for target in imports(ast.parse(path.read_text()), top_level=False)}
    for library, homes in HOMES.items():
        if name not in homes:
            assert library not in at_import, f"{name} imports {library} at import time"
            if library != "torch":
                assert library not in anywhere, f"{name} imports {library}"
