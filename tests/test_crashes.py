"""As SQLite tests itself: a change of a file fails, or the process dies there, for every way to one in every command.

A way that several commands have in common is tried in the first of them. `faulty` says what a change is. What drivers
of GDAL write themselves is in tests/commands/test_full_disk.py.
"""

import csv
import gc
import hashlib
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tiny
import torch
from faulty import Died, Faults
from rasterio.transform import from_origin
from tiers import every, thorough

from segearth_cli.weights.catalogue import CATALOGUE
from segearth_cli.weights.downloads import git_blob

pytestmark = pytest.mark.usefixtures("plain_pictures")


@pytest.fixture(scope="module")
def place(tmp_path_factory, model_dir, wide_model_dir):
    """Inputs of every command: scenes, a mask, a label, pictures, a published set, a model, an upsampler to fetch."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    utm = {"crs": "EPSG:32632", "transform": from_origin(356000, 5645000, 0.5, 0.5), "driver": "GTiff"}
    for name in ("photos", "set/val/image", "set/val/label"):
        (folder / name).mkdir(parents=True)
    names = (("scene", 3, 256), ("second", 3, 256), ("mask", 1, 2), ("label", 1, 2), ("photos/one", 3, 256))
    for name, bands, high in (*names, ("set/val/image/1", 3, 256), ("set/val/label/1", 1, 2)):
        pixels = rng.integers(0, high, (bands, 64, 64)).astype(np.uint8)
        with rasterio.open(folder / f"{name}.tif", "w", count=bands, height=64, width=64, dtype="uint8", **utm) as ds:
            ds.write(pixels)
    shutil.copytree(model_dir, folder / "model")
    shutil.copytree(wide_model_dir, folder / "wide")
    (folder / "list.csv").write_text("scene.tif\nsecond.tif\n")
    state = tiny.upsampler(channels=512, patch=16).state_dict()
    torch.save({"state_dict": {f"upsampler.{k}": v for k, v in state.items()}}, folder / "authors.ckpt")
    return folder


@dataclass(frozen=True)
class Command:
    """What is run, and what must be whole whenever it ends."""

    words: tuple
    outputs: tuple = ()
    before: str = ""  # a command of BEFORE whose files it starts from
    lines: bool = True  # whether a failure is one line; lists tell of each scene


MODEL = ("-m", "local-dir:model", "--upsampler", "none", "-d", "cpu", "-q")
PREDICT = ("predict", "scene.tif", *MODEL, "--classes", "water,roof", "--background", "none", "-o", "out.tif")
EVALUATE = ("evaluate", "mask.tif", "label.tif", "-q", "--classes", "a,b")
SMALL = ("--crop", "48", "--radius", "1", "--batch-size", "1", "--jitters", "1")
QUICK = (*SMALL, "--workers", "0", "--held-out", "1", "--save-every", "1")
TRAIN = ("train-upsampler", "photos", "-m", "local-dir:model", "-d", "cpu", *QUICK, "-q", "-o", "u.safetensors")
LIST = ("predict", "--manifest", "list.csv", *MODEL, "--classes", "water,roof", "-o", "masks", "--summary", "t.csv")
COMMANDS = {
    "predict": Command(
        (*PREDICT, "--confidence", "two.tif", "--scores", "s.tif", "--vector", "v.shp", "--overwrite"),
        ("out.tif", "two.tif", "s.tif", "v.shp"),
    ),
    "predict --summary": Command((*PREDICT, "--summary", "t.csv", "--overwrite"), ("out.tif", "t.csv"), lines=False),
    "predict --manifest": Command(
        (*LIST, "--overwrite"), ("masks/scene.mask.tif", "masks/second.mask.tif", "t.csv"), lines=False
    ),
    "predict --format cog": Command((*PREDICT, "--format", "cog", "--overwrite"), ("out.tif",)),
    "predict --work": Command((*PREDICT, "--work", "run", "--resume", "--overwrite"), ("out.tif",)),
    "predict --shard-index": Command((*PREDICT, "--work", "run", "--shard-index", "0", "--shard-count", "1")),
    "merge": Command(("merge", "done", "--overwrite", "-q"), ("done/mask.vrt",), "run"),
    "merge --out": Command(("merge", "done", "-o", "out.tif", "--overwrite", "-q"), ("out.tif",), "run"),
    "merge --format cog": Command(
        ("merge", "done", "-o", "out.tif", "--confidence", "two.tif", "--format", "cog", "--overwrite", "-q"),
        ("out.tif", "two.tif"), "run",
    ),
    **{
        f"vectorize .{kind}": Command(("vectorize", "mask.tif", "-o", f"v.{kind}", "-q", "--overwrite"), (f"v.{kind}",))
        for kind in ("gpkg", "shp", "geojson", "fgb", "parquet")
    },
    "evaluate": Command(
        (*EVALUATE, "--json", "o.json", "--csv", "o.csv", "--png", "o.png", "--overwrite"), ("o.json", "o.csv", "o.png")
    ),
    "reproduce": Command(
        ("reproduce", "whu-aerial", "set", "-m", "local-dir:wide", "-d", "cpu", "-q", "-o", "out", "--overwrite"),
        ("out/results.json", "out/results.csv", "out/whu-aerial.published.csv", "out/whu-aerial.published.png"),
    ),
    "train-upsampler": Command((*TRAIN, "--steps", "1", "--overwrite"), ("u.safetensors",)),
    "train-upsampler --resume": Command(
        (*TRAIN, "--steps", "2", "--resume", "--export-ckpt", "u.ckpt", "--overwrite"),
        ("u.safetensors", "u.ckpt"), "train",
    ),
    "download": Command(
        ("download", "simfeatup", "--from", "authors.ckpt", "--overwrite", "-q"), (), "download"
    ),
}  # fmt: skip
MANY = {"predict", "predict --work", "merge --out", "vectorize .gpkg", "vectorize .shp", "evaluate", "download"}
MOST = [name if name in MANY else thorough(name) for name in COMMANDS]
HALVES = every(2, [0, 1])  # of the ways to a change
BEFORE = {
    "run": (*PREDICT[:-1], "first.tif", "--confidence", "c.tif", "--work", "done"),
    "train": (*TRAIN, "--steps", "1"),
    "download": ("download", "simfeatup", "--from", "authors.ckpt", "-q"),
}
PARTS = {".tif": [".tif.aux.xml", ".tif.msk"], ".shp": [".shx", ".dbf", ".prj"], ".gpkg": [".gpkg-wal"]}


def members(name):
    path = Path(name)
    return [path, *(path.with_name(path.stem + end) for end in PARTS.get(path.suffix, []))]


def write_old(names):
    for name in names:
        for part in members(name):
            part.parent.mkdir(exist_ok=True)
            part.write_bytes(old(part))


def old(part):
    return f"old {part}".encode()


def is_old(name):
    return all(part.is_file() and part.read_bytes() == old(part) for part in members(name))


def is_new(name):
    """Whether a data set can be read whole, with no side file of the old one."""
    path = Path(name)
    if not path.is_file() or any(part.exists() and part.read_bytes() == old(part) for part in members(name)):
        return False
    read(path)
    return True


def read(path):
    """Reads a file whole; raises when it is not."""
    suffix = path.suffix
    if suffix in (".tif", ".vrt"):
        with rasterio.open(path) as ds:
            ds.read()
    elif suffix == ".gpkg":
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    elif suffix in (".shp", ".geojson", ".fgb"):
        import fiona

        with fiona.open(path) as layer:
            assert list(layer)
    elif suffix == ".parquet":
        import pyarrow.parquet as pq

        assert pq.read_table(path).num_rows
    elif suffix == ".json":
        json.loads(path.read_text())
    elif suffix == ".csv":
        text = path.read_text()
        assert text.endswith("\n")
        assert len({len(row) for row in csv.reader(text.splitlines())}) == 1
    elif suffix == ".png":
        from PIL import Image

        Image.open(path).load()
    elif suffix == ".safetensors":
        from safetensors.torch import load_file

        assert load_file(path)
    elif suffix == ".ckpt":
        assert torch.load(path, weights_only=True)["state_dict"]
    elif suffix == ".pt":
        head, _, content = path.read_bytes().partition(b"\n")
        assert head.split()[-1].decode() == hashlib.sha256(content).hexdigest()
    else:
        raise AssertionError(f"nobody said how {path} is read")


def main_is_whole(name):
    """Whether the file itself is the old or the new one; after a death its side files may wait to be put in place."""
    path = Path(name)
    if path.name == "t.csv" and (text := path.read_text()) and not text.endswith("\n"):
        path.write_text(text.rpartition("\n")[0] + "\n")  # a summary grows; the dead may leave a part of a row
    if path.read_bytes() != old(path) and path.suffix != ".shp":
        read(path)
    return True


def hidden():
    return [str(path) for path in Path().rglob(".*") if path.is_file() and not path.name.endswith(".lock")]


def own_files_are_whole():
    """What a command keeps for itself: records of shards, checkpoints, weights that were fetched."""
    for path in [*Path().glob("*/shards/*/*.json"), *Path().glob("*/run.json"), *Path().glob("*.train/*.pt")]:
        if not path.name.startswith("."):
            read(path)
    fetched = [path for path in Path("cache/models").rglob("weights.*") if path.suffix == ".ckpt"]
    assert all(path.read_bytes() == Path("authors.ckpt").read_bytes() for path in fetched)
    return True


@pytest.fixture
def begin(place, tmp_path, monkeypatch, segearth):
    """Puts the inputs and the old outputs of a command in place, as often as it is called; its folder."""
    entry = replace(CATALOGUE["simfeatup"], git_blob=git_blob(place / "authors.ckpt"), size=None)
    monkeypatch.setattr("segearth_cli.weights.downloads.CATALOGUE", {**CATALOGUE, "simfeatup": entry})  # not ours

    def start(command):
        monkeypatch.chdir(tmp_path)
        for path in tmp_path.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if command.before == "download":
            monkeypatch.setenv("SEGEARTH_CACHE", str(tmp_path / "cache"))
        kept = place / f"before {command.before}"
        if command.before and kept.exists():
            shutil.copytree(kept, tmp_path, symlinks=True, dirs_exist_ok=True)
        else:
            for path in place.iterdir():
                if not path.name.startswith("before "):
                    Path(path.name).symlink_to(path) if path.is_dir() else shutil.copy(path, path.name)
        if command.before and not kept.exists():
            done = segearth(*BEFORE[command.before])
            assert done.code == 0, done.err
            shutil.copytree(tmp_path, kept, symlinks=True)
        write_old(command.outputs)
        return tmp_path

    return start


def own_lines(done):
    """What was said, without libtiff's own lines."""
    return [line for line in done.lines if not line.startswith(("_tiff", "TIFF"))]


def check(name, done, told, *, left=False):
    """What holds of a command that may have failed: it says so in one line, and files are the old or the new ones."""
    command = COMMANDS[name]
    told = f"{told}: exit {done.code} {done.err}"
    assert done.code in ((0, 1) if command.lines else (0, 1, 3)), told
    assert not command.lines or len(own_lines(done)) == (done.code == 1), told
    assert all(is_old(output) or is_new(output) for output in command.outputs), told
    assert done.code != 0 or all(is_new(output) for output in command.outputs), told
    assert own_files_are_whole(), told
    assert left or hidden() == [], told


def numbers(name, begin, segearth, monkeypatch, tried, at, half):
    """Changes of a command by number: the first (at 0) or last (at -1) of those that the same lines make.

    tried: ways to a change that an earlier command went, by half; those of this one are added.
    half: which half of the new ways, 0 or 1.
    """
    folder = begin(COMMANDS[name])
    with monkeypatch.context() as patch:
        faults = Faults(patch, folder)
        assert segearth(*COMMANDS[name].words).code == 0
    return faults.telling(tried[half], at)[half::2]


@pytest.fixture(scope="module")
def failed():
    """Ways to a change that failed in some command, by half."""
    return set(), set()


@pytest.fixture(scope="module")
def died():
    """Ways to a change at which some command died, by half."""
    return set(), set()


@pytest.fixture(scope="module")
def signalled():
    """Ways to a change after which a signal came in some command."""
    return set()


@pytest.mark.slow
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", MOST)
def test_a_change_that_fails_leaves_the_old_files_or_the_new_ones(begin, segearth, monkeypatch, failed, name, half):
    command = COMMANDS[name]
    for number in numbers(name, begin, segearth, monkeypatch, failed, 0, half):
        folder = begin(command)
        with monkeypatch.context() as patch:
            faults = Faults(patch, folder, number)
            done = segearth(*command.words)
        assert faults.what, f"{name}: change {number} did not come"
        check(name, done, f"{name}, change {number} ({faults.what})", left=faults.what == "unlink")


@pytest.mark.slow
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", MOST)
def test_after_a_death_files_are_whole_and_the_next_run_clears_up(begin, segearth, monkeypatch, died, name, half):
    command = COMMANDS[name]
    for number in numbers(name, begin, segearth, monkeypatch, died, -1, half):
        folder = begin(command)
        with monkeypatch.context() as patch:
            faults = Faults(patch, folder, number, dies=True)
            with suppress(Died):
                segearth(*command.words)
        told = f"{name}, death at change {number} ({faults.what})"
        assert all(main_is_whole(output) for output in command.outputs), told
        assert own_files_are_whole(), told
        if number % 4:  # every fourth is enough to see that the next run finds its way
            continue
        done = segearth(*command.words)
        assert done.code == 0, f"{told}: {done.err}"
        assert all(is_new(output) for output in command.outputs), told
        assert [left for left in hidden() if "temporary" not in left] == [], told


ENDINGS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
SENT = {"vectorize .shp": signal.SIGHUP, "merge --out": signal.SIGTERM}  # Ctrl-C in all others


@pytest.mark.slow
@pytest.mark.parametrize("name", [name if name in SENT else thorough(name) for name in COMMANDS])
def test_a_signal_at_any_change_leaves_whole_files_and_no_hidden_ones(begin, segearth, monkeypatch, signalled, name):
    command, number = COMMANDS[name], SENT.get(name, signal.SIGINT)
    for change in numbers(name, begin, segearth, monkeypatch, [signalled], 0, 0):
        folder = begin(command)
        with monkeypatch.context() as patch:
            faults = Faults(patch, folder, change, signal=number)
            done = segearth(*command.words)
        told = f"{name}, {number.name} after change {change} ({faults.what}): exit {done.code} {done.err}"
        assert not faults.what or done.code == 128 + number, told
        assert not faults.what or own_lines(done) == [f"segearth: {ENDINGS[number]}"], told
        assert all(is_old(output) or is_new(output) for output in command.outputs), told
        assert own_files_are_whole(), told
        assert hidden() == [], told


@pytest.fixture
def small_disk(tmp_path):
    """The folder of the test on a disk of its own that holds 8 MB."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk may be mounted here")
    yield tmp_path
    os.chdir("/")
    subprocess.run(["umount", "-l", tmp_path], check=True)


def let_layers_speak(name):
    """A layer of an earlier command that could not be written says so when it is closed: now."""
    if any(output.startswith("v.") for output in COMMANDS[name].outputs):
        gc.collect()


@pytest.mark.slow
@pytest.mark.parametrize("name", MOST)
def test_a_full_disk_leaves_the_old_files_or_the_new_ones(small_disk, begin, segearth, name):
    for kib in (0, 4, 24, 100):
        folder = begin(COMMANDS[name])
        with Path(folder, "filler").open("wb") as filler:
            filler.write(bytes(max(0, shutil.disk_usage(folder).free - kib * 1024)))
        let_layers_speak(name)
        done = segearth(*COMMANDS[name].words)
        check(name, done, f"{name}, {kib} KiB left")
        assert done.code == 0 or "No space left" in done.err or "MB left on the disk" in done.err, done.err


@pytest.mark.slow
@pytest.mark.parametrize("kind", every(3, ["gpkg", "fgb", "shp"]))
def test_what_just_fits_on_a_disk_is_whole(small_disk, segearth, noise, write_raster, tmp_path_factory, kind):
    import fiona

    mask = shutil.copy(write_raster("mask.tif", noise(1, 64, 64, high=2)), tmp_path_factory.mktemp("elsewhere"))
    words = ("vectorize", mask, "-q", "-o")

    def records(path):
        with fiona.open(path) as layer:
            return [(record.geometry.__geo_interface__, dict(record.properties)) for record in layer]

    room = shutil.disk_usage(small_disk).free
    assert segearth(*words, small_disk / f"first.{kind}").code == 0
    room -= shutil.disk_usage(small_disk).free
    wanted, codes = records(small_disk / f"first.{kind}"), set()
    for kib in range(room // 1024 - 40, room // 1024 + 240, 12):
        for path in small_disk.iterdir():
            path.unlink()
        Path(small_disk, "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - kib * 1024))
        done = segearth(*words, small_disk / f"a.{kind}")
        codes.add(done.code)
        assert done.code or records(small_disk / f"a.{kind}") == wanted, f"{kib} KiB"
    assert codes == {0, 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", MOST)
def test_a_limit_of_file_sizes_leaves_the_old_files_or_the_new_ones(begin, segearth, name):
    for size in (2000, 20_000, 100_000):  # bytes; what pytest captures must fit too
        begin(COMMANDS[name])
        let_layers_speak(name)
        former = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
        try:
            done = segearth(*COMMANDS[name].words)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, former)
        check(name, done, f"{name}, files of at most {size} bytes")


CLEANED = [("--min-area=9px", 300), ("--fill-holes=9px", 300), ("--dissolve", 40)]


@pytest.mark.slow
@pytest.mark.parametrize(("cleaned", "side"), every(2, CLEANED))
@pytest.mark.parametrize("nodata", [None, 0])
def test_a_full_temporary_folder_is_told_and_leaves_the_old_files(
    small_disk, segearth, monkeypatch, noise, write_raster, tmp_path_factory, cleaned, side, nodata
):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    shutil.copy(write_raster("mask.tif", noise(1, side, side, high=3), nodata=nodata), "mask.tif")
    codes = []
    for kib in range(0, 100, 12):
        write_old(["v.gpkg"])
        Path(small_disk, "filler").unlink(missing_ok=True)
        Path(small_disk, "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - kib * 1024))
        done = segearth("vectorize", "mask.tif", cleaned, "-q", "-o", "v.gpkg", "--overwrite")
        codes.append(done.code)
        if done.code:
            assert len(own_lines(done)) == 1, done.err
            assert f"{small_disk}: cannot write to this folder for temporary files: No space left" in done.err
            assert "TMPDIR" in done.err
            assert is_old("v.gpkg")
        assert hidden() == []
    assert codes == sorted(codes, reverse=True)
    assert set(codes) == {0, 1}


@pytest.fixture
def full_temporary_folder(small_disk, monkeypatch):
    """Leaves so many KiB to temporary files."""

    def fill(kib):
        filler = Path(small_disk, "filler")
        filler.unlink(missing_ok=True)
        filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - kib * 1024))
        monkeypatch.setattr("tempfile.tempdir", str(small_disk))
        return f"{small_disk}: cannot write to this folder for temporary files: No space left"

    return fill


@pytest.mark.slow
def test_a_full_temporary_folder_is_told_by_all_that_keep_something_there(
    full_temporary_folder, segearth, monkeypatch, noise, write_raster, tmp_path_factory, model_dir
):
    import fiona
    import shapely

    import segearth_cli
    from segearth_cli.vector import VectorizeOptions, vectorize_partitioned

    place = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(place)
    mask = shutil.copy(write_raster("mask.tif", noise(1, 300, 300, high=3)), place)
    with rasterio.open(mask) as ds, fiona.open(
        "drawn.gpkg", "w", crs_wkt=ds.crs.to_wkt(), schema={"geometry": "Point", "properties": {"class": "str"}}
    ) as layer:  # fmt: skip
        places = [ds.xy(*place) for place in np.random.default_rng(0).integers(0, 300, (9000, 2)).tolist()]
        layer.writerecords(
            {"geometry": shapely.Point(xy).__geo_interface__, "properties": {"class": "abc"[i % 3]}}
            for i, xy in enumerate(places)
        )
    for kib, code in ((0, 1), (4, 1), (800, 0)):
        said = full_temporary_folder(kib)
        done = segearth("evaluate", mask, "drawn.gpkg", "-q", "-c", "a,b,c")
        assert done.code == code
        assert not code or [said in line for line in own_lines(done)] == [True], done.err
    Path("parts").mkdir()
    full_temporary_folder(8)
    with pytest.raises(segearth_cli.SegEarthError, match="temporary files: No space left"):
        vectorize_partitioned(mask, Path("parts"), VectorizeOptions(quiet=True), side=96)  # several blocks
    assert [*Path("parts").iterdir()] == []
    full_temporary_folder(8)
    with pytest.raises(segearth_cli.SegEarthError, match="No space left"):
        segearth_cli.predict(
            noise(3, 64, 64), "water,roof", model=f"local-dir:{model_dir}", upsampler="none", quiet=True
        )
