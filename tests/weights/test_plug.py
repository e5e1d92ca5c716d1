"""Models of other makers: the page's example, and our own model as a plug, through every way to a mask."""

import json
import re

import numpy as np
import pytest
import rasterio
import shell

import segearth_cli as segearth_python
from segearth_cli.errors import WeightsError

PAGE = (shell.ROOT / "docs" / "own-model.md").read_text()
EXAMPLE = re.search(r"```python\n(# mine\.py\n.*?)```", PAGE, re.DOTALL)[1]
OURS = """
from segearth_cli.weights import ModelOptions, assemble

def ours(class_set, device):
    return assemble(ModelOptions(model={model!r}, device=str(device), precision="fp32"), class_set).segmenter

ours.window = {window}
ours.multiple = 16
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(EXAMPLE)


@pytest.fixture
def scene(write_raster, noise):
    coarse = noise(3, 10, 12).repeat(16, axis=1).repeat(16, axis=2)
    return write_raster("s.tif", coarse)


def pixels(path):
    with rasterio.open(path) as ds:
        return ds.read(1), json.loads(ds.tags()["SEGEARTH_RUN"])


def test_the_example_of_the_page_makes_the_mask_that_its_formula_gives(segearth, scene):
    assert len(EXAMPLE.splitlines()) <= 32
    done = segearth("predict", scene, "-c", "shadow,ground,roof", "-m", "python:mine.py:brightness", "--blend", "mean")
    assert done.code == 0, done.err
    mask, run = pixels(done.out.strip())
    with rasterio.open(scene) as ds:
        grey = ds.read().astype(np.float32).mean(axis=0) / 255
    expected = np.abs(grey - np.array([0, 0.5, 1]).reshape(3, 1, 1)).argmin(axis=0)
    assert np.array_equal(mask, expected + 1)  # code 0 is what the list does not name
    assert run["model"] == "python:mine.py:brightness"
    assert run["window"] == 128
    dry = segearth("predict", scene, "-c", "a,b", "-m", "python:mine.py:brightness", "--dry-run", "--overwrite")
    assert "of 128 px" in dry.out + dry.err
    vector = segearth("vectorize", scene.replace(".tif", ".mask.tif"))
    assert vector.code == 0, vector.err


@pytest.mark.slow
def test_our_own_model_as_a_plug_gives_the_same_mask_to_the_byte_on_every_way(segearth, scene, model_dir, tmp_path):
    (tmp_path / "wrapped.py").write_text(OURS.format(model=f"local-dir:{model_dir}", window=64))
    words = ["predict", scene, "-c", "water|river,roof,forest"]
    plain = segearth(*words, "-m", model_dir, "--upsampler", "none", "--precision", "fp32", "--out", "plain.tif")
    assert plain.code == 0, plain.err
    expected, _ = pixels("plain.tif")
    assert len(np.unique(expected)) > 1
    plug = ["-m", "python:wrapped:ours"]
    ways = {
        "direct": [],
        "shards": ["--work", "run", "--shard-size", "512"],
        "batch": ["--batch-size", "1"],
    }
    for name, more in ways.items():
        done = segearth(*words, *plug, "--out", f"{name}.tif", *more)
        assert done.code == 0, done.err
        assert np.array_equal(pixels(f"{name}.tif")[0], expected), name
    made = segearth_python.predict(scene, "water|river,roof,forest", model="python:wrapped:ours", quiet=True)
    assert np.array_equal(made.array, expected)
    (tmp_path / "wrapped.py").write_text(OURS.format(model=f"local-dir:{model_dir}", window=64) + "\n# changed\n")
    again = shell.segearth(*words, *plug, "--out", "shards.tif", *ways["shards"], "--resume", cwd=tmp_path)
    assert again.returncode != 0
    assert "model_sha256" in again.stderr


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("python:", "need python:MODULE:FACTORY"),
        ("python:mine.py", "need python:MODULE:FACTORY"),
        ("python:mine.py:other", "has no function other"),
        ("python:nowhere_at_all:f", "cannot be imported: ModuleNotFoundError"),
        ("python:none.py:f", "none.py: no such file"),
        ("python:broken.py:f", "cannot be imported: ZeroDivisionError"),
        ("python:wrong.py:number", "gives a int, need a function"),
        ("python:wrong.py:fails", "cannot be made: KeyError"),
        ("python:wrong.py:shape", "gives (1, 77, 160, 192) for chips (1, 3, 160, 192), need (1, 2, 160, 192)"),
        ("python:wrong.py:window", "its window is 0, need a whole number"),
    ],
)
def test_what_is_no_model_is_one_line(segearth, scene, tmp_path, spec, says):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "wrong.py").write_text(
        "def number(): return 3\n"
        "def fails(): return {}['absent']\n"
        "def shape(): return lambda chips: chips[:, :1].float().expand(-1, 77, -1, -1)\n"
        "def window(): return lambda chips: chips\n"
        "window.window = 0\n"
    )
    done = segearth("predict", scene, "-c", "water,roof", "-m", spec, "-q", "--background", "none")
    assert (done.code in (1, 2), done.out, len(done.lines)) == (True, "", 1), done.err
    assert says in done.err


def test_code_is_refused_where_rasters_are_strangers(segearth, scene, monkeypatch):
    monkeypatch.setenv("SEGEARTH_UNTRUSTED", "1")
    done = segearth("predict", scene, "-c", "water,roof", "-m", "python:mine.py:brightness")
    assert (done.code, done.out) == (2, "")
    assert "--untrusted refuses" in done.lines[-1]
    monkeypatch.setenv("SEGEARTH_UNTRUSTED", "0")
    assert segearth("predict", scene, "-c", "water,roof", "-m", "python:mine.py:brightness", "-q").code == 0


@pytest.mark.parametrize("flags", [("--upsampler", "simfeatup"), ("--upsampler", "mini")])
def test_an_upsampler_is_refused(segearth, scene, flags):
    done = segearth("predict", scene, "-c", "water,roof", "-m", "python:mine.py:brightness", *flags)
    assert (done.code, done.out) == (2, "")
    assert "leave it out" in done.lines[-1]


def test_training_needs_a_clip():
    from segearth_cli.weights import load_clip

    with pytest.raises(WeightsError, match="a CLIP is needed"):
        load_clip("python:mine.py:brightness")
