"""As SQLite tests itself: the n-th change of a file fails, or the process dies there, for every n and every command.

Everything that changes a file goes through `files`, which calls `os` by name; those calls are counted in the folder
of the test. A death is played by refusing every later call too, so that nothing can be cleared up.
"""

import builtins
import errno
import io
import json
import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

CALLS = ("replace", "link", "unlink", "fsync", "mkdir")
DEAD = 4194303  # a process number that no process has


class Died(BaseException):
    """The process is gone."""


class Faults:
    """Counts the changes of files below a folder; the n-th fails, or is the last of the process."""

    def __init__(self, patch, folder, number=None, *, dies=False):
        self.folder, self.number, self.dies, self.count, self.what = str(folder), number, dies, 0, ""
        self.real = {name: getattr(os, name) for name in CALLS}
        for name in CALLS:
            patch.setattr(os, name, self.counted(name))
        opened = io.open

        def counted_open(file, mode="r", *args, **options):
            if set(mode) & set("wax+") and str(file).startswith(self.folder):
                self.step(f"open {mode}")
            return opened(file, mode, *args, **options)

        patch.setattr(io, "open", counted_open)
        patch.setattr(builtins, "open", counted_open)
        if dies:
            patch.setattr(os, "getpid", lambda: DEAD)

    def counted(self, name):
        def call(*arguments, **options):
            place = arguments[0]
            here = str(place) if not isinstance(place, int) else os.readlink(f"/proc/self/fd/{place}")  # noqa: PTH115
            if os.path.abspath(here).startswith(self.folder):  # noqa: PTH100 - links stay
                self.step(name)
            return self.real[name](*arguments, **options)

        return call

    def step(self, what):
        self.count += 1
        if self.count == self.number or (self.dies and self.number is not None and self.count > self.number):
            self.what = self.what or what
            if self.dies:
                raise Died
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def place(tmp_path_factory, model_dir):
    """Inputs of every command: a scene, a mask, a label, a run in two shards, a picture."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    utm = {"crs": "EPSG:32632", "transform": from_origin(356000, 5645000, 0.5, 0.5), "driver": "GTiff"}
    (folder / "photos").mkdir()
    for name, bands, high in (("scene", 3, 256), ("mask", 1, 2), ("label", 1, 2), ("photos/one", 3, 256)):
        pixels = rng.integers(0, high, (bands, 64, 64)).astype(np.uint8)
        with rasterio.open(folder / f"{name}.tif", "w", count=bands, height=64, width=64, dtype="uint8", **utm) as ds:
            ds.write(pixels)
    shutil.copytree(model_dir, folder / "model")
    return folder


MODEL = ("-m", "local-dir:model", "--upsampler", "none", "-d", "cpu", "-q", "--classes", "water,roof")
QUICK = ("--steps", "1", "--crop", "64", "--batch-size", "1", "--jitters", "1", "--workers", "0", "--held-out", "1")
COMMANDS = {
    "predict": (
        ("predict", "scene.tif", *MODEL, "-o", "out.tif", "--confidence", "two.tif", "--vector", "v.shp"),
        ["out.tif", "two.tif", "v.shp"],
    ),
    "predict --work": (("predict", "scene.tif", *MODEL, "-o", "out.tif", "--work", "run", "--resume"), ["out.tif"]),
    "merge": (("merge", "done", "-o", "out.tif"), ["out.tif"]),
    "merge --format cog": (("merge", "done", "-o", "out.tif", "--format", "cog"), ["out.tif"]),
    "vectorize .gpkg": (("vectorize", "mask.tif", "-o", "v.gpkg", "-q"), ["v.gpkg"]),
    "vectorize .shp": (("vectorize", "mask.tif", "-o", "v.shp", "-q"), ["v.shp"]),
    "evaluate": (
        ("evaluate", "mask.tif", "label.tif", "-q", "--classes", "a,b", "--json", "o.json", "--csv", "o.csv"),
        ["o.json", "o.csv"],
    ),
    "train-upsampler": (
        ("train-upsampler", "photos", "-m", "local-dir:model", "-d", "cpu", *QUICK, "-q", "-o", "u.safetensors"),
        ["u.safetensors"],
    ),
}  # fmt: skip
PARTS = {".tif": [".tif.aux.xml", ".tif.msk"], ".shp": [".shx", ".dbf", ".prj"], ".gpkg": [".gpkg-wal"]}


def members(name):
    return [name, *(Path(name).stem + end for end in PARTS.get(Path(name).suffix, []))]


def write_old(names):
    for name in names:
        for part in members(name):
            Path(part).write_bytes(b"old " + part.encode())


def is_old(name):
    return all(Path(part).is_file() and Path(part).read_bytes() == b"old " + part.encode() for part in members(name))


def is_new(name):
    """Whether a data set can be read whole, with no side file of the old one."""
    path = Path(name)
    if not path.is_file() or path.read_bytes().startswith(b"old "):
        return False
    if any(Path(part).exists() and Path(part).read_bytes().startswith(b"old ") for part in members(name)):
        return False
    if path.suffix == ".tif":
        with rasterio.open(path) as ds:
            ds.read()
    elif path.suffix == ".gpkg":
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    elif path.suffix == ".shp":
        import fiona

        with fiona.open(path) as layer:
            assert list(layer)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    return True


def main_is_whole(name):
    """Whether the file itself is the old or the new one; after a death its side files may wait to be put in place."""
    path = Path(name)
    if path.read_bytes() == b"old " + name.encode():
        return True
    if path.suffix == ".tif":
        with rasterio.open(path) as ds:
            ds.read()
    return path.stat().st_size > 30


def hidden():
    return [str(path) for path in Path().rglob(".*") if path.is_file() and not path.name.endswith(".lock")]


@pytest.fixture
def begin(place, tmp_path, monkeypatch, segearth):
    """Puts the inputs and the old outputs of a command in place, as often as it is called; its folder."""
    monkeypatch.chdir(tmp_path)

    def start(command):
        for path in tmp_path.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for path in place.iterdir():
            Path(path.name).symlink_to(path) if path.is_dir() else shutil.copy(path, path.name)
        if command.startswith("merge"):
            if not (place / "done").exists():
                done = segearth("predict", "scene.tif", *MODEL, "-o", "first.tif", "--work", "done")
                assert done.code == 0, done.err
                shutil.copytree("done", place / "done")
            else:
                Path("done").unlink()
                shutil.copytree(place / "done", "done")
        write_old(COMMANDS[command][1])
        return tmp_path

    return start


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_change_that_fails_leaves_the_old_files_or_the_new_ones(begin, segearth, monkeypatch, command):
    arguments, names = COMMANDS[command]
    for number in range(1, 400):
        folder = begin(command)
        with monkeypatch.context() as patch:
            faults = Faults(patch, folder, number)
            done = segearth(*arguments, "--overwrite")
        if not faults.what:
            assert done.code == 0
            break
        told = f"{command}, change {number} ({faults.what}): exit {done.code} {done.err}"
        assert done.code in (0, 1), told
        assert len(done.lines) == (done.code == 1), told
        assert all(is_old(name) or is_new(name) for name in names), told
        if done.code == 0:
            assert all(is_new(name) for name in names), told
        if faults.what != "unlink":
            assert hidden() == [], told


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_after_a_death_files_are_whole_and_the_next_run_clears_up(begin, segearth, monkeypatch, command):
    arguments, names = COMMANDS[command]
    for number in range(1, 400):
        folder = begin(command)
        with monkeypatch.context() as patch:
            faults = Faults(patch, folder, number, dies=True)
            with suppress(Died):
                segearth(*arguments, "--overwrite")
        if not faults.what:
            break
        told = f"{command}, death at change {number} ({faults.what})"
        assert all(main_is_whole(name) for name in names), told
        if number % 3:  # every third is enough to see that the next run finds its way
            continue
        done = segearth(*arguments, "--overwrite")
        assert done.code == 0, f"{told}: {done.err}"
        assert all(is_new(name) for name in names), told
        assert [name for name in hidden() if "shards" not in name] == [], told
