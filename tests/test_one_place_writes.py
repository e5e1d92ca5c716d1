"""One place writes: what opens for writing, replaces or removes stands in `files`, or is named here with why."""

import ast
from functools import cache

import pytest
from sources import MODULES, PACKAGE, parsed

# place -> (what it calls, why it may). All but the last group write to a temporary name that `files` gave them.
NAMED = {
    "raster/mask_writer.py Layer.__init__": ({"rasterio.open"}, "GDAL writes to a temporary name"),
    "raster/mask_writer.py label": ({"rasterio.open"}, "tags of a temporary file"),
    "raster/mask_writer.py _build_overviews": ({"rasterio.open"}, "overviews of a temporary file"),
    "raster/mask_writer.py write_cog": ({"rasterio.shutil.copy"}, "GDAL writes to a temporary name"),
    "raster/mask_reader.py _categories": ({"rasterio.shutil.copy"}, "a file in memory"),
    "jobs/merge.py _empty_vrt": ({"template.open", "rasterio.shutil.copy"}, "files in memory"),
    "vector/arrow.py _Writer": ({"pyogrio.raw.write_arrow"}, "GDAL writes to a temporary name"),
    "vector/arrow.py _as_told": ({"link.symlink_to"}, "a link in a temporary folder"),
    "vector/arrow.py parquet": ({"pq.ParquetWriter"}, "a temporary name"),
    "vector/drawn.py write_points": ({"fiona.open"}, "GDAL writes to a temporary name"),
    "vector/drawn.py _refuse_other_text": ({"sqlite3.connect"}, "opened to read"),
    "vector/layers.py _geojson": ({"path.open"}, "a temporary name"),
    "vector/geopackage.py editing": ({"sqlite3.connect"}, "a temporary name"),
    "evaluation/report.py write_png": ({"figure.savefig"}, "bytes in memory"),
    "training/pictures.py save_looks": ({"figure.savefig"}, "bytes in memory"),
    "training/pictures.py save_curves": ({"figure.savefig"}, "bytes in memory"),
    "training/checkpoint.py save": ({"torch.save"}, "bytes in memory"),
    "training/loop.py export_ckpt": ({"torch.save"}, "bytes in memory"),
    "raster/written.py temporary_raster": ({"rasterio.open"}, "a raster in a temporary folder"),
    "raster/array_file.py write_array": ({"rasterio.open"}, "an array as a scene, in a temporary folder"),
    "api.py Mask.save": ({"shutil.copyfile"}, "to a temporary name"),
    "api.py predict": ({"shutil.rmtree"}, "the temporary folder of a mask"),
    "disk.py refusal": ({"path.open"}, "more of a temporary file, to hear whether there is room"),
    "disk.py make_temporary_folder": ({"tempfile.mkdtemp"}, "the one maker of temporary folders"),
    "disk.py temporary_folder": ({"shutil.rmtree"}, "what lies there is gone at the end"),
    "disk.py sync": ({"os.open"}, "a handle to wait for the disk with, opened to read"),
    "jobs/lock.py _lock": ({"os.open"}, "a lock is an empty file"),
    "texts.py read_text": ({"os.open"}, "a pipe is opened for reading, without waiting for its writer"),
    "cli.py _forget_stdout": ({"os.open"}, "stdout led to nowhere"),
    "cli.py _open_streams": ({"os.open"}, "streams that were closed"),
}
METHODS = {"write_text", "write_bytes", "unlink", "rename", "rmdir", "touch", "mkdir", "symlink_to", "hardlink_to"}
CALLS = {
    *("os.replace", "os.rename", "os.unlink", "os.remove", "os.link", "os.symlink", "os.mkdir", "os.makedirs"),
    "os.open",
    *("shutil.copy", "shutil.copyfile", "shutil.copy2", "shutil.move", "shutil.rmtree", "shutil.copytree"),
    *("tempfile.mkstemp", "tempfile.mkdtemp", "tempfile.NamedTemporaryFile", "tempfile.TemporaryDirectory"),
    *("torch.save", "np.save", "np.savez", "rasterio.shutil.copy", "sqlite3.connect", "pq.ParquetWriter", "save_file",
      "pyogrio.raw.write_arrow"),
    *("figure.savefig", "template.open"),
}  # fmt: skip


def writes(call):
    """What a call writes with, None when it does not."""
    name = ast.unparse(call.func)
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if name in CALLS or method in METHODS or (method == "replace" and len(call.args) == 1):
        return name
    if name == "open" or method == "open":
        given = [*call.args, *(word.value for word in call.keywords if word.arg in ("mode", None))]
        modes = [node.value for node in given if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        if any(mode and set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes):
            return name
    return None


@cache
def found(path):
    """(function, call) of each call of a file that writes."""

    def walk(node, inside):
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            below = [*inside, child.name] if named else inside
            if isinstance(child, ast.Call) and (name := writes(child)):
                yield ".".join(inside[: 2 if inside and inside[0][0].isupper() else 1]), name
            yield from walk(child, below)

    return list(walk(parsed(path), []))


@pytest.mark.slow
def test_only_files_writes():
    strangers = [
        f"{place}: {call}"
        for path in MODULES
        for inside, call in found(path)
        if path != PACKAGE / "files.py"
        and call not in named(place := f"{path.relative_to(PACKAGE).as_posix()} {inside}")
    ]
    assert strangers == [], "writes past segearth_cli.files: use replacing, created, write_text, move, remove"


def named(place):
    return NAMED.get(place, (set(), ""))[0]


def test_every_exception_is_still_one():
    there = {f"{path.relative_to(PACKAGE).as_posix()} {inside}" for path in MODULES for inside, _ in found(path)}
    assert set(NAMED) - there == set()


@pytest.mark.parametrize(
    "text",
    [
        "path.write_text('a')",
        "open(p, 'w')",
        "path.open('ab')",
        "path.open(mode='w')",
        "os.replace(a, b)",
        "part.replace(path)",
        "rasterio.open(path, 'r+')",
        "fiona.open(path, 'w', **form)",
        "path.unlink(missing_ok=True)",
        "torch.save(x, path)",
    ],
)
def test_the_scan_sees_what_writes(text):
    assert writes(ast.parse(text).body[0].value)


@pytest.mark.parametrize("text", ["open(p)", "path.open('rb')", "text.replace('a', 'b')", "rasterio.open('data')"])
def test_the_scan_leaves_reading_alone(text):
    assert not writes(ast.parse(text).body[0].value)
