"""Lists of many scenes: what they cost grows with their number alone, and what is done is known without the model."""

import csv
import json
import shutil
import signal
from pathlib import Path

import forked
import numpy as np
import pytest
import rasterio
import shell

from segearth_cli.commands.sharding import Sharding
from segearth_cli.errors import UsageError

COUNTED = """
import collections, os, sys, time
calls, entries = collections.Counter(), 0
from segearth_cli import cli
import rasterio, torch, segearth_cli.prediction.scene_to_mask, segearth_cli.jobs.compute  # not counted: imports

def watch(event, args):
    if event in ("open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir"):
        calls[event] += 1
        if event in ("os.listdir", "os.scandir"):
            calls["entries"] += len(os.listdir(args[0])) if event == "os.scandir" else 0

sys.addaudithook(watch)
for name in ("stat", "lstat"):
    def counted(*args, _real=getattr(os, name), _name=name, **kwargs):
        calls[_name] += 1
        return _real(*args, **kwargs)
    setattr(os, name, counted)
code = cli.run()
print(sum(calls.values()), int("open_clip" in sys.modules), file=sys.stderr)
os._exit(code)
"""


@pytest.fixture(scope="module")
def flags(model_dir):
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu", "--precision", "fp32")
    return ("-c", "water,roof", *model)


def listed(folder, scenes):
    (folder / "list.csv").write_text("scene\n" + "".join(f"{scene}\n" for scene in scenes))
    return folder / "list.csv"


def rows(path):
    with Path(path).open(encoding="utf-8") as f:
        return {row["scene"]: row["state"] for row in csv.DictReader(f)}


def resumed(folder, segearth, flags, scene, number):
    """File-system calls of the resume of `number` finished scenes, links to one; whether the model was loaded."""
    folder.mkdir()
    first, names = folder / "first", [folder / f"in/s{i:04d}.tif" for i in range(number)]
    (folder / "in").mkdir()
    for name in names:
        shutil.copy(scene, name)
    done = segearth("predict", names[0], *flags, "-o", first.with_suffix(".tif"), "-q")
    assert done.code == 0, done.err
    (folder / "out").mkdir()
    with rasterio.open(first.with_suffix(".tif")) as ds:
        tag = json.loads(ds.tags()["SEGEARTH_RUN"])
    for name in names:
        place = folder / "out" / f"{name.stem}.mask.tif"
        shutil.copy(first.with_suffix(".tif"), place)
        with rasterio.open(place, "r+") as ds:
            ds.update_tags(SEGEARTH_RUN=json.dumps(tag | {"scene": name.name}, sort_keys=True, ensure_ascii=False))
    words = ("predict", "--manifest", listed(folder, names), *flags, "-o", f"{folder / 'out'}/", "-q")
    again = shell.python(COUNTED, *words, "--summary", folder / "sum.csv")
    assert set(rows(folder / "sum.csv").values()) == {"skipped"}, again.stderr
    calls, loaded = again.stderr.split()[-2:]
    return int(calls), loaded == "1"


@pytest.mark.slow
def test_the_cost_of_a_resume_grows_with_the_number_of_scenes_and_no_model_is_loaded(
    tmp_path, segearth, flags, write_raster, noise
):
    scene = write_raster("scene.tif", noise(3, 40, 50))
    few, loaded = resumed(tmp_path / "few", segearth, flags, scene, 20)
    many, _ = resumed(tmp_path / "many", segearth, flags, scene, 120)
    assert not loaded
    assert 4 < many / few < 8


@pytest.mark.slow
def test_a_summary_has_a_line_as_soon_as_a_scene_is_done_and_scenes_are_numbered(
    tmp_path, flags, write_raster, noise, segearth
):
    scenes = [write_raster(f"s{i}.tif", noise(3, 40, 50)) for i in range(3)]
    words = ("predict", "--manifest", listed(tmp_path, scenes), *flags, "-o", f"{tmp_path / 'out'}/")
    process = forked.start(*words, "--summary", tmp_path / "sum.csv", "-q")
    process.wait_for((tmp_path / "out" / "s1.mask.tif").exists)  # the first one's row is written before
    process.send(signal.SIGKILL)
    process.finish()
    kept = rows(tmp_path / "sum.csv")
    assert kept[scenes[0]] == "done"
    assert set(kept.values()) == {"done"}
    fresh = segearth(*words[:-1], f"{tmp_path / 'fresh'}/")
    told = [line.removeprefix("segearth: ").partition(":")[0] for line in fresh.lines if " of 3: " in line]
    assert told == ["scene 1 of 3", "scene 2 of 3", "scene 3 of 3"]


STRAYS = """
import rasterio.errors

def factory(class_set, device):
    def model(chips):
        if (chips[:, 0] == 1).all():
            raise {stray}
        return chips[:, :2].float() / 255
    return model

factory.window = 64
"""


@pytest.mark.parametrize(
    ("stray", "told"),
    [("rasterio.errors.CRSError('odd')", "GDAL: odd"), ("MemoryError()", "out of memory")],
)
@pytest.mark.parametrize("work", [False, True])
def test_an_error_that_nobody_expected_of_one_scene_leaves_the_others_done(
    tmp_path, monkeypatch, write_raster, noise, segearth, stray, told, work
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strays.py").write_text(STRAYS.format(stray=stray))
    scenes = [write_raster(f"s{i}.tif", noise(3, 40, 50)) for i in range(3)]
    with rasterio.open(scenes[1], "r+") as ds:
        ds.write(np.ones((3, 40, 50), np.uint8))
    words = ("-c", "water,roof", "--background", "none", "-m", "python:strays.py:factory", "-d", "cpu", "-o", "out/")
    words += ("--summary", "sum.csv", *(("--work", "work") if work else ()))
    done = segearth("predict", "--manifest", listed(tmp_path, scenes), *words)
    assert done.code == 3, done.err
    assert rows("sum.csv") == {scenes[0]: "done", scenes[1]: "failed", scenes[2]: "done"}
    assert any(told in line and "s1.tif" in line for line in done.lines), done.err
    assert max(line.count("s1.tif") for line in done.lines) == 1


@pytest.mark.parametrize("work", [(), ("--work", "work")])
def test_scenes_are_told_as_they_were_named(tmp_path, monkeypatch, write_raster, noise, segearth, flags, work):
    monkeypatch.chdir(tmp_path)
    write_raster("s0.tif", noise(3, 40, 50))
    Path("s1.tif").write_bytes(b"II*\0")
    done = segearth("predict", "s0.tif", "s1.tif", *flags, *work, "--json", "-o", "out/")
    assert done.code == 3, done.err
    assert json.loads(done.out)["scene"] == "s0.tif"
    assert [line for line in done.lines if line.startswith(("segearth: s1.tif: ", "s1.tif: "))], done.err
    assert str(tmp_path) not in done.err


@pytest.mark.slow
def test_two_processes_at_one_list_share_it(tmp_path, flags, write_raster, noise):
    scenes = [write_raster(f"s{i:02d}.tif", noise(3, 200, 200)) for i in range(12)]
    words = ("predict", "--manifest", listed(tmp_path, scenes), *flags, "-o", f"{tmp_path / 'out'}/", "-q")
    both = [forked.start(*words, "--summary", tmp_path / f"sum{i}.csv") for i in range(2)]
    assert [process.finish().returncode for process in both] == [0, 0]
    states = [rows(tmp_path / f"sum{i}.csv") for i in range(2)]
    for scene in scenes:
        assert sorted(state[scene] for state in states) == ["done", "skipped"]
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("variables", "index"),
    [
        ({"JOB_COMPLETION_INDEX": "2"}, 2),
        ({"SLURM_ARRAY_TASK_ID": "3"}, 3),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1"}, 2),
    ],
)
def test_the_share_is_that_of_the_task_in_its_array(monkeypatch, variables, index):
    for name in ("JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="neither JOB_COMPLETION_INDEX nor SLURM_ARRAY_TASK_ID is set"):
        Sharding(work=Path("work"), count=4)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Sharding(work=Path("work"), count=4).index == index
    with pytest.raises(UsageError, match=r"--shard-index \d: must be 0 to 0"):
        Sharding(work=Path("work"), count=1)
