"""A scene that changes while it is read gives no mask, whatever it is made of; one whose signature is renewed does."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import rasterio
import rasterio.shutil
import torch
from flaky import serving
from one_scene import only_one

from segearth_cli.classes import parse
from segearth_cli.console import shown
from segearth_cli.errors import RunError, SceneChangedError, UsageError
from segearth_cli.jobs.compute import Job
from segearth_cli.jobs.work_list import Entry
from segearth_cli.prediction import PredictOptions, Predictor, RunOptions, predict_scene
from segearth_cli.raster import Outputs
from segearth_cli.weights import ModelOptions

CLASSES = parse("water,roof,tree")


def predictor(when_read=lambda: None, **run):
    """A predictor with a model of pixels' colours, which calls `when_read` when it gets the first window."""
    calls = []

    def segmenter(chips, valid=None, overlap=None):
        if not calls:
            when_read()
        calls.append(1)
        return chips.float() / 2550

    facts = {"model": "colours", "upsampler": "none", "precision": "float32"}
    model = SimpleNamespace(segmenter=segmenter, device=torch.device("cpu"), native=32, patch=8, facts=facts)
    return Predictor(lambda: model, CLASSES, PredictOptions(window=32), RunOptions(quiet=True, **run))


def vrt(path, source):
    rasterio.shutil.copy(source, path, driver="VRT")
    return path


@pytest.fixture
def made(write_raster, noise):
    """Scenes of each kind over one file, which comes second: a name of a scene -> (scene, file)."""
    values = noise(3, 70, 90)

    def make(kind):
        source = Path(write_raster("source.tif", values))
        folder = source.parent
        if kind == "mask beside it":
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"), rasterio.open(source, "r+") as ds:
                ds.write_mask(values[0] > 9)
            return source, folder / "source.tif.msk"
        if kind == "archive":
            packed = shutil.make_archive(str(folder / "packed"), "zip", folder, source.name)
            return f"/vsizip/{packed}/source.tif", Path(packed)
        scene = source if kind == "file" else vrt(folder / "outer.vrt", source)
        if kind == "VRT of a VRT":
            scene = vrt(folder / "outer.vrt", vrt(folder / "inner.vrt", source))
        return scene, source

    return make


def touched(path):
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))


def longer(path):
    with path.open("ab") as f:
        f.write(b"\0")


def replaced(path):
    seen = path.stat()
    other = path.with_suffix(".other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    other.replace(path)


CHANGES = {touched: " before, of ", longer: " bytes before, ", replaced: "another file has its name now"}
KINDS = ["file", "mask beside it", "archive", "VRT", "VRT of a VRT"]


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_a_scene_that_changes_while_it_is_read_gives_nothing(tmp_path, made, kind, change):
    scene, file = made(kind)
    (tmp_path / "out").mkdir()
    out = Outputs(tmp_path / "out" / "mask.tif", tmp_path / "out" / "c.tif", vector=tmp_path / "out" / "v.gpkg")
    with pytest.raises(SceneChangedError) as caught:
        predict_scene(str(scene), out, predictor(lambda: change(file)))
    assert f"{scene}: changed while it was read ({file.name}: " in str(caught.value)
    assert CHANGES[change] in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []
    assert predict_scene(str(scene), out, predictor()).mask == str(out.mask)


def test_a_scene_that_changes_ends_a_sharded_run_at_once(tmp_path, write_raster, noise):
    scene = Path(write_raster("scene.tif", noise(3, 40, 1500)))  # three shards
    job = Job(str(scene), tmp_path / "work", ("mask",), 512, ModelOptions("x"), PredictOptions(), CLASSES)
    with pytest.raises(SceneChangedError, match=r"scene.tif: changed while it was read"):
        only_one(Entry(job, Outputs(tmp_path / "mask.tif")), predictor(lambda: touched(scene)), join=False)
    records = [json.loads(path.read_text()) for path in (tmp_path / "work" / "shards").glob("*/*.json")]
    assert [record["state"] for record in records] == ["failed"]
    assert not list(tmp_path.rglob("*mask.tif"))


@contextmanager
def served(folder):
    """The URL of a folder served by another process: Python's threads stand still when GDAL opens a VRT's sources."""
    code = (
        "import sys, flaky\nwith flaky.serving(sys.argv[1]) as url:\n    print(url, flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, folder], cwd=Path(__file__).parents[1], stdin=-1, stdout=-1, text=True
    ) as server:
        yield server.stdout.readline().strip()
        server.stdin.close()


@pytest.mark.parametrize("through", ["itself", "a VRT"])
def test_a_scene_replaced_on_its_server_gives_nothing(tmp_path, write_raster, noise, through):
    write_raster("scene.tif", noise(3, 70, 90))
    with served(tmp_path) as url:
        scene = f"{url}/scene.tif" if through == "itself" else str(vrt(tmp_path / "scene.vrt", f"{url}/scene.tif"))
        changing = predictor(lambda: write_raster("scene.tif", noise(3, 70, 90)))
        with pytest.raises(SceneChangedError, match="changed while it was read .other pixels"):
            predict_scene(scene, Outputs(tmp_path / "mask.tif"), changing)
        assert not (tmp_path / "mask.tif").exists()
        assert not predict_scene(scene, Outputs(tmp_path / "mask.tif"), predictor()).skipped


SAID = {
    "ETag": lambda file: {"ETag": f'"{file.stat().st_mtime_ns}"'},
    "Last-Modified": lambda file: {"Last-Modified": f"Sat, 28 Nov 2026 21:{file.stat().st_ino % 60:02d}:00 GMT"},
}


@pytest.mark.parametrize("header", SAID)
def test_what_a_server_says_of_a_scene_is_sealed_though_its_pixels_stay(tmp_path, write_raster, noise, header):
    scene, copy = Path(write_raster("scene.tif", noise(3, 70, 90))), tmp_path / "copy.tif"
    shutil.copy(scene, copy)
    with serving(tmp_path, says=SAID[header]) as url:
        out = Outputs(tmp_path / "mask.tif")
        with pytest.raises(SceneChangedError) as caught:
            predict_scene(f"{url}/scene.tif?key=SECRET", out, predictor(lambda: shutil.move(copy, scene)))
        assert f"changed while it was read (scene.tif: {header} " in str(caught.value)
        assert "SECRET" not in shown(str(caught.value))
        assert not out.mask.exists()
        assert not predict_scene(f"{url}/scene.tif?key=SECRET2", out, predictor()).skipped


@pytest.mark.parametrize("sharded", [False, True])
def test_a_mask_is_known_again_when_the_clock_of_its_scene_was_ahead(tmp_path, write_raster, noise, sharded):
    scene, out = Path(write_raster("scene.tif", noise(3, 40, 60))), Outputs(tmp_path / "mask.tif")
    os.utime(scene, ns=(time.time_ns() + 3600 * 10**9,) * 2)

    def run():
        if not sharded:
            return predict_scene(str(scene), out, predictor(skip=True))
        job = Job(str(scene), tmp_path / "work", ("mask",), 512, ModelOptions("x"), PredictOptions(), CLASSES)
        return only_one(Entry(job, out), predictor(skip=True), join=True)

    assert [run().skipped, run().skipped] == [False, True]
    touched(scene)
    with pytest.raises((UsageError, RunError)):
        run()


def test_a_renewed_signature_is_the_same_run_and_stands_nowhere(tmp_path, write_raster, noise):
    write_raster("scene.tif", noise(3, 40, 600))
    (tmp_path / "out").mkdir()
    lines = []
    with serving(tmp_path) as url:
        for number, signature in enumerate(("sig=SECRET1", "sig=SECRET2&more=a/SECRET")):
            scene = f"{url}/scene.tif?{signature}"
            out = Outputs(tmp_path / "out" / "mask.tif")
            job = Job(scene, tmp_path / "work", ("mask",), 512, ModelOptions("x"), PredictOptions(), CLASSES)
            run = predictor(skip=True, notice=lines.append)
            lines.append(json.dumps(only_one(Entry(job, out), run, join=True).run))
            summary = predict_scene(scene, Outputs(tmp_path / "out" / "direct.tif"), run)
            assert summary.skipped == (number == 1)
            lines.append(f"{summary}")
    for path in [*(tmp_path / "work").rglob("*"), *(tmp_path / "out").iterdir()]:
        assert path.is_dir() or b"SECRET" not in path.read_bytes()
    assert "SECRET" not in "".join(lines)
