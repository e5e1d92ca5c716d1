"""The walls of the house: imports go down a list of packages, from outside through the face, and never in a circle."""

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module

import pytest
from sources import MODULES, PACKAGE, nodes, parsed

# Each imports only from what stands below it. docs/architecture.md tells what each is for.
ORDER = (
    "__main__",
    "cli",
    "commands",
    "api",
    "reproduction",
    "calibration jobs",
    "prediction",
    "training",
    "evaluation",
    "vector maps",
    "weights",
    "model",
    "raster",
    "presets faces gate cache keywords",
    "styles progress config",
    "classes console files options",
    "beside class_colors disk land_cover clock texts signals",
    "errors quantities __init__",
    "version",
)
PUBLIC = ("api", "classes", "errors")  # what the package itself shows, imported when somebody asks
FLOOR = {name: -floor for floor, names in enumerate(ORDER) for name in names.split()}
FACES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py") if path.parent.name != "commands")
TORCH = {
    "model",
    "weights",
    "prediction",
    "training",
    "jobs",
    "calibration",
}  # packages whose modules may import it at import time

# library -> what may import it at all: a package, or a module of it
HOMES = {
    "open_clip": {"weights"},
    "fiona": {"vector"},
    "pyogrio": {"vector"},
    "triton": {"model.gpu_kernels"},
    "llvmlite": {"model.machine_code", "model.cpu_stages"},
    "typer": {"commands", "cli"},
}


NAMES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in MODULES}


def imported(path, *, at_import=False):
    """(module, names) of each import of a file; only of those that run when it is imported."""
    for node in parsed(path).body if at_import else nodes(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, tuple(alias.name for alias in node.names)


def ours(path):
    """(place below the package, names) of each import of the package's own."""
    for module, names in imported(path):
        head, _, place = module.partition(".")
        if head == "segearth_cli":
            yield (place, names) if place else ("", names)


def test_a_module_imports_what_stands_below_it_and_through_its_face():
    assert [wrong for name in NAMES for wrong in wrong_imports(name)] == []


def wrong_imports(name):
    """Sentences on the imports of a module that go up, or past a face."""
    own = name.split(".")[0]
    assert own in FLOOR, f"{name} has no place in the house: add {own} to ORDER"
    for place, names in ours(NAMES[name]):
        for target in [place] if place else [n if n in FLOOR else "__init__" for n in names]:
            other, _, inside = target.partition(".")
            if other == own or (own == "__init__" and other in PUBLIC):
                continue
            if FLOOR[other] >= FLOOR[own]:
                yield f"{name} imports {target}, which does not stand below {own} in ORDER"
            if inside:
                yield f"{name} imports {target} past the face of {other}: import from segearth_cli.{other}"
            if other in FACES and place:
                hidden = sorted(set(names) - set(import_module(f"segearth_cli.{other}").__all__))
                if hidden:
                    yield f"{name} takes {hidden} from {other}, whose face does not show them"


@pytest.mark.parametrize("package", [*FACES, "commands"])
def test_no_package_imports_in_a_circle(package):
    graph = {}
    for path in (PACKAGE / package).glob("*.py"):
        name = path.stem
        if name == "__init__":
            continue
        graph[name] = {
            inside
            for place, names in ours(path)
            for inside in (
                [place.split(".")[1]] if place.startswith(f"{package}.") else names if place == package else []
            )
        } - {name}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as e:
        pytest.fail(f"{package}: {' imports '.join(reversed(e.args[1]))}")


@pytest.mark.parametrize("package", FACES)
def test_a_face_tells_its_story_and_shows_all_it_names(package):
    face = import_module(f"segearth_cli.{package}")
    assert 4 <= len(face.__doc__.splitlines()) <= 8
    assert [name for name in face.__all__ if not hasattr(face, name)] == []


@pytest.mark.parametrize("package", FACES)
def test_a_face_shows_type_checkers_the_same_and_no_function_that_nobody_asks_for(package):
    face = import_module(f"segearth_cli.{package}")
    shown = {name for place, names in ours(PACKAGE / package / "__init__.py") if place != "faces" for name in names}
    assert shown == set(face.__all__)
    asked = set().union(*(words for path, words in words_by_file().items() if path.parent != PACKAGE / package))
    assert {name for name in face.__all__ if name.islower() and name not in asked} == set()


@cache
def words_by_file():
    """The words of each Python file that is ours."""
    folders = [PACKAGE, *(PACKAGE.parent / name for name in ("tests", "benchmarks", "scripts", "qgis"))]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    return {path: set(re.findall(r"\w+", path.read_text(encoding="utf-8"))) for path in files}


def test_heavy_libraries_stay_in_their_rooms():
    assert [stray for name in NAMES for stray in strays(name)] == []


def strays(name):
    """Sentences on the heavy libraries that a module imports and should not."""
    package, path = name.split(".")[0], NAMES[name]
    found = {module.partition(".")[0] for module, _ in imported(path)}
    at_import = {module.partition(".")[0] for module, _ in imported(path, at_import=True)}
    if (package not in TORCH or name.endswith("__init__")) and "torch" in at_import:
        yield f"{name} imports torch at import time"
    for library, homes in HOMES.items():
        if library in found and not {package, name} & homes:
            yield f"{name} imports {library}, which lives in {', '.join(homes)}"


def test_the_model_opens_no_file_prints_nothing_and_waits_with_compilers():
    for path in (PACKAGE / "model").glob("*.py"):
        assert {place for place, _ in ours(path)}.isdisjoint({"console", "files"}), path.name
        called = {node.func.id for node in nodes(path) if isinstance(getattr(node, "func", None), ast.Name)}
        assert called.isdisjoint({"open", "print"}), path.name
        if path.stem not in ("gpu_kernels", "cpu_kernels", "machine_code"):
            at_import = [name for module, names in imported(path, at_import=True) for name in (module, *names)]
            compilers = ("triton", "llvmlite", "gpu_kernels", "cpu_kernels", "machine_code")
            assert [name for name in at_import if any(part in compilers for part in name.split("."))] == [], path.name


@pytest.mark.parametrize("package", FACES)
def test_no_name_of_a_face_is_also_a_module_of_a_lazy_package(package):
    face = import_module(f"segearth_cli.{package}")
    modules = {path.stem for path in (PACKAGE / package).glob("*.py")}
    assert not hasattr(face, "__getattr__") or modules.isdisjoint(face.__all__)  # importing one would hide the other
