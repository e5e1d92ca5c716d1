"""What a run of many shards asks of the file system: so much for each shard, whatever their number."""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
import rasterio
from rasterio.transform import from_origin

from segearth_cli.cache import sha256
from segearth_cli.jobs import open_ledger
from segearth_cli.prediction import Measured

SIDE = 512  # pixels of a shard
AUDITED = {"open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "os.link", "os.chmod"}
ASKED = ("stat", "lstat", "access", "readlink", "fsync")
counts: Counter[str] | None = None


def watch(event, _arguments):
    if counts is not None and event in AUDITED:
        counts[event] += 1


sys.addaudithook(watch)  # stays for good, and counts only while somebody asks


@pytest.fixture
def calls(monkeypatch):
    """The calls to the file system that Python makes in an act, by name."""

    def counted(act):
        global counts
        with monkeypatch.context() as patch:
            counts = found = Counter()
            for name in ASKED:
                real = getattr(os, name)
                patch.setattr(
                    os, name, lambda *a, _real=real, _name=name, **k: (found.update([_name]), _real(*a, **k))[1]
                )
            try:
                act()
            finally:
                counts = None
        return found

    return counted


@pytest.fixture
def sparse(model_dir, tmp_path, monkeypatch):
    """Goes to a folder with a scene of `side` x `side` shards without data; gives the words of `predict`."""
    model = ("-c", "water,roof", "-m", f"local-dir:{model_dir}", "--upsampler", "none", "--precision", "fp32")

    def made(side):
        (tmp_path / str(side)).mkdir()
        monkeypatch.chdir(tmp_path / str(side))
        raster("scene.tif", side * SIDE, count=3, nodata=0)
        return ("predict", "scene.tif", *model, "--work", "run", "--shard-size", SIDE, "-q")

    return made


def raster(name, side, **profile):
    return rasterio.open(
        name, "w", driver="GTiff", width=side, height=side, dtype="uint8", tiled=True, blockxsize=SIDE, blockysize=SIDE,
        sparse_ok=True, crs="EPSG:32632", transform=from_origin(356000, 5645000, 0.5, 0.5), **profile,
    ).close()  # fmt: skip


@pytest.fixture
def finished(segearth, sparse, monkeypatch):
    """The same with a folder in which all shards are done, each a link to one mask."""

    def made(side):
        words = (*sparse(side), "-d", "cpu")
        raster("tile.tif", SIDE, count=1, nodata=255)
        ok(segearth(*words, "--shard-index", 0, "--shard-count", 10**6))  # makes the folder
        ledger, digest = open_ledger(Path("run")), sha256(Path("tile.tif"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)
            for shard in ledger.shards:
                with ledger.receiving(shard) as outputs:
                    os.link("tile.tif", outputs.mask)
                ledger.write(shard, Measured({0: SIDE**2}, 1, 1.0, 0.0), {outputs.mask.name: digest})
        return words

    return made


COMMANDS = {
    "resume": lambda words: (*words, "--shard-index", 0, "--shard-count", 1),
    "dry run": lambda words: (*words, "--resume", "--dry-run"),
    "merge": lambda _: ("merge", "run", "-q"),
    "stac": lambda _: ("merge", "run", "--format", "stac", "-o", "collection", "-q"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "sides"), [("resume", (10, 32)), ("dry run", (10, 32)), ("merge", (10, 32)), ("stac", (5, 10))]
)
def test_the_calls_of_a_command_grow_with_the_number_of_shards_alone(segearth, finished, calls, command, sides):
    found = []
    for side in sides:
        words = COMMANDS[command](finished(side))
        found.append(calls(lambda words=words: ok(segearth(*words))))
    few, many = (counted.total() for counted in found)
    grown = (sides[1] / sides[0]) ** 2
    assert few > sides[0] ** 2, found
    assert many <= 1.05 * grown * few, found
    assert found[1]["os.listdir"] + found[1]["os.scandir"] <= found[0]["os.listdir"] + found[0]["os.scandir"] + sides[1]


def ok(done):
    assert done.code == 0, done.err


@pytest.mark.thorough
def test_who_gives_shards_to_devices_asks_no_more_of_the_file_system_while_they_compute(segearth, sparse, calls):
    found = []
    for side in (1, 3):
        words = sparse(side)
        found.append(calls(lambda words=words: ok(segearth(*words, "--devices", "cpu,cpu", "-o", "mask.tif"))))
    assert found[1].total() - found[0].total() <= 8 * (9 - 1), found
