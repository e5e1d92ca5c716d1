"""A run's folder vouches for what is in it: what was changed, is missing or cannot be computed is told, not joined."""

import json
import os
import shutil

import numpy as np
import pytest
import rasterio

from segearth_cli.cache import sha256
from segearth_cli.files import replacing
from segearth_cli.jobs.run_folder import open_ledger


@pytest.fixture
def predict(segearth, model_dir, tmp_path):
    """Runs `segearth predict` in shards of 512 px, in the folder `work`, with the tiny model."""

    def run(scene, *arguments):
        model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu", "--precision", "fp32")
        work = ("--work", tmp_path / "work", "--shard-size", "512", "-o", tmp_path / "mask.tif")
        return segearth("predict", scene, "-q", "-c", "water,roof", *model, *work, *arguments)

    return run


@pytest.fixture
def scene(write_raster, noise):
    return write_raster("scene.tif", noise(3, 60, 1100))  # three shards


def changed(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


MOVES = {
    "geotransform": lambda run: run["frame"]["transform"].__setitem__(2, run["frame"]["transform"][2] + 1000),
    "class": lambda run: run["classes"][0].__setitem__("name", "lava"),
    "threshold": lambda run: run["facts"].__setitem__("threshold", 0.5),
    "height": lambda run: run["frame"].__setitem__("height", 30),
    "size of shards": lambda run: run.__setitem__("shard_size", 1024),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
def test_a_run_that_was_changed_by_hand_is_refused(predict, segearth, scene, tmp_path, move):
    assert predict(scene).code == 0
    changed(tmp_path / "work" / "run.json", move)
    (tmp_path / "mask.tif").unlink()
    for done in (predict(scene, "--resume"), segearth("merge", tmp_path / "work", "-o", tmp_path / "mask.tif")):
        assert (done.code, len(done.lines)) == (1, 1)
        assert "run.json: was changed since it was written" in done.err
    assert not (tmp_path / "mask.tif").exists()


def forged(record):
    record["state"], record["files"] = "empty", {}


CHANGES = {
    "no files": lambda record: record["files"].clear(),
    "declared empty": forged,
    "another place": lambda record: record.__setitem__("window", [0, 0, 60, 512]),
    "other counts": lambda record: record["pixels"].__setitem__("0", 7),
    "no window": lambda record: record.pop("window"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_record_that_was_changed_by_hand_is_no_record(predict, segearth, scene, tmp_path, change):
    assert predict(scene).code == 0
    whole = (tmp_path / "mask.tif").read_bytes()
    changed(tmp_path / "work" / "shards" / "r00000" / "r00000c00001.json", change)
    done = segearth("merge", tmp_path / "work")
    assert (done.code, len(done.lines)) == (1, 1)
    assert "1 of 3 shards are missing: r00000c00001 (r00000c00001.json " in done.err
    assert predict(scene, "--resume", "--overwrite").code == 0
    assert (tmp_path / "mask.tif").read_bytes() == whole


@pytest.fixture
def broken(tmp_path, noise):
    """A scene of five shards whose first three blocks cannot be read, nor, for its margin, the fourth shard."""
    path = tmp_path / "broken.tif"
    profile = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    with rasterio.open(path, "w", count=3, dtype="uint8", height=60, width=2560, photometric="RGB", **profile) as ds:
        ds.write(noise(3, 60, 2560))
    whole = shutil.copy(path, tmp_path / "whole.tif")
    size = path.stat().st_size
    with path.open("r+b") as f:  # blocks lie in the file from left to right
        f.seek(size // 20)
        f.write(b"\0" * (size * 2 // 5))
    return path, whole


def test_shards_that_cannot_be_read_keep_none_of_the_others_from_being_computed(predict, segearth, broken, tmp_path):
    done = predict(broken[0])
    records = {p.stem: json.loads(p.read_text())["state"] for p in (tmp_path / "work" / "shards").glob("*/*.json")}
    failed = [name for name, state in records.items() if state == "failed"]
    assert (done.code, len(done.lines), len(records)) == (1, 1, 5)
    assert 3 <= len(failed) < 5
    assert f"({len(failed)} of 5 shards failed" in done.err
    joined = segearth("merge", tmp_path / "work", "-o", tmp_path / "mask.tif", "--allow-missing", "--json")
    assert joined.code == 0
    assert json.loads(joined.out)["missing_shards"] == sorted(failed)
    assert "r00000c00000: nodata in rows 0-59, columns 0-511 (" in joined.lines[0]
    assert len(joined.lines) == len(failed) + 1  # the last one tells what was joined
    with rasterio.open(tmp_path / "mask.tif") as ds:
        missing = np.array([int(name[-5:]) for name in failed])
        assert ((ds.read(1) == 255).all(axis=0) == np.isin(np.arange(2560) // 512, missing)).all()
        assert json.loads(ds.tags()["SEGEARTH_RUN"])["missing_shards"] == sorted(failed)


def test_what_failed_before_is_tried_last(predict, scene, tmp_path):
    assert predict(scene).code == 0
    shards = tmp_path / "work" / "shards"
    order = sorted(shards.glob("*/*.json"))
    for path in order[1:]:
        path.unlink()
    (tmp_path / "mask.tif").unlink()
    ledger = open_ledger(tmp_path / "work")
    ledger.write_failure(ledger.shards[1], "no luck with https://me:secret@host/a.tif?sig=secret")
    assert "secret" not in (shards / "r00000" / "r00000c00001.json").read_text()
    assert predict(scene, "--resume").code == 0
    times = [path.stat().st_mtime_ns for path in order]
    assert times[0] < times[2] < times[1]


def test_the_hash_of_a_large_file_is_kept_until_the_file_is_touched(tmp_path, monkeypatch):
    path = tmp_path / "scores.tif"
    path.write_bytes(b"\0" * (65 << 20))
    os.utime(path, (1e9, 1e9))  # at rest for long
    first = sha256(path)
    with monkeypatch.context() as patch:
        reads = []
        real = type(path).open
        patch.setattr(type(path), "open", lambda self, *a, **k: (reads.append(self), real(self, *a, **k))[1])
        assert sha256(path) == first
        assert path not in reads
    with path.open("r+b") as f:
        f.write(b"\1")
    os.utime(path, (1e9, 1e9))  # its time of change says nothing, that of its entry does
    assert sha256(path) != first


def test_only_what_dead_processes_of_this_machine_left_is_removed(predict, scene, tmp_path):
    assert predict(scene).code == 0
    (tmp_path / "mask.tif").unlink()
    shards, held = tmp_path / "work" / "shards" / "r00000", tmp_path / "work" / "temporary"
    with replacing(shards / "r00000c00001.mask.tif", held) as temporary:
        temporary.touch()
        mine = temporary.name  # .NAME.HOST-PROCESS-TOKEN.part.tif
    host, process, token = mine.removesuffix(".part.tif").rpartition(".")[2].split("-")
    names = {
        "dead": mine.replace(f"-{process}-", f"-{2**22 + 1}-"),  # above Linux's highest
        "alive": mine.replace(token, "0" * 6),
        "elsewhere": mine.replace(host, "0" * 6),
    }
    for name in names.values():
        (held / name).touch()
    for path in shards.glob("r00000c00001*"):
        path.unlink()
    assert predict(scene, "--resume").code == 0
    assert sorted(path.name for path in held.iterdir()) == sorted([names["alive"], names["elsewhere"]])


def test_a_run_of_a_former_layout_is_refused_in_one_line(predict, scene, tmp_path):
    assert predict(scene).code == 0
    document = tmp_path / "work" / "run.json"
    document.write_text(document.read_text().replace('"format": 3', '"format": 2'))
    again = predict(scene, "--resume")
    assert again.code == 1
    assert again.lines == [
        f"segearth: {document}: written by another version of segearth; start anew in another --work folder"
    ]
