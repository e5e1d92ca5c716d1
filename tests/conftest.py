"""What many tests share: a tiny model in open_clip's layout, made rasters, the command line in this process."""

import functools
import gc
import io
import os
import shutil
import signal
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import rasterio
import slurm_node
from hypothesis import settings
from rasterio.transform import from_origin

# A shell that runs the tests in the background has them ignore Ctrl-C, and nohup SIGHUP, which the processes they start
# would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# What is collected is compiled once, instead of by every worker. Not what a test imports: under a limit of file sizes
# Python would keep half of it for good, and take that for the module from then on.
sys.dont_write_bytecode = False

gc.disable()  # while tests are collected

# No test cuts the power: what is written need not be waited for. `faulty` sees that it would be.
os.fsync = lambda _: None
os.environ["OMP_NUM_THREADS"] = "1"  # teams of threads crawl where several tests run at once
os.environ["SEGEARTH_PROGRESS"] = "3600"  # no line depends on how busy the machine is

EXAMPLES, THOROUGH_EXAMPLES = 25, 100

ROOT = Path(__file__).parents[1]
# Public data that is not ours to redistribute: tests that need it are skipped where it is not.
SHARED = Path(os.environ.get("SEGEARTH_SHARED", ROOT.parent / "shared"))
UTM = {"crs": "EPSG:32632", "transform": from_origin(356000, 5645000, 0.5, 0.5)}


def _has_card():
    import torch

    return torch.cuda.is_available()


MACHINES = {  # what a marked test needs -> whether this machine has it
    "cuda": _has_card,
    "qgis": lambda: shutil.which("qgis_process") is not None,
    "slurm": slurm_node.here,
    "browser": lambda: find_spec("playwright") and (shutil.which("chromium") or shutil.which("google-chrome")),
}


# Files of half a minute and more, and those that have few slow tests but long ones.
LONG = {
    *("crashes", "bucket", "streams_of_runs", "qgis_plugin", "fences", "package", "reproduce", "shards", "planning"),
    *("clusters", "gpu_stages", "growth", "train", "calibrate", "dask", "streams", "published", "activation"),
    *("downloads", "memory"),
}
SLOW_FIXTURES = {"whole", "finished", "expected", "s3"}  # a training run, all shards of a scene, a server: seconds


def pytest_configure(config):
    examples = EXAMPLES if "not thorough" in config.getoption("markexpr") else THOROUGH_EXAMPLES
    settings.register_profile("suite", deadline=None, max_examples=examples)  # another process may need the machine
    settings.load_profile("suite")


def pytest_collection_modifyitems(items):
    for item in items:
        if SLOW_FIXTURES & set(item.fixturenames if hasattr(item, "fixturenames") else ()):
            item.add_marker("slow")
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    long = {item.path for item in items if item.path.stem.removeprefix("test_") in LONG}
    items.sort(key=lambda item: (item.path not in long, -slow[item.path]))  # so that no worker waits for the last one


def pytest_collection_finish():
    """Takes what is loaded for good out of the collector's way, which would go through it all again and again."""
    gc.freeze()
    gc.enable()
    sys.dont_write_bytecode = True


def pytest_runtest_setup(item):
    for name, here in MACHINES.items():
        if item.get_closest_marker(name) and not here():
            pytest.skip(f"needs {name}, which is not on this machine")


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """Text embeddings of made models go to a folder of the session's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGEARTH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("SEGEARTH_MODEL", raising=False)
        yield


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """A folder in open_clip's layout that holds the tiny model: patch 16, window 64, 32 channels, random weights."""
    import tiny

    return tiny.model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def wide_model_dir(tmp_path_factory):
    """The tiny model with patches of 32 px in windows of 224, which takes few windows for a published setting."""
    import tiny

    vision = tiny.CONFIG["model_cfg"]["vision_cfg"] | {"image_size": 224, "patch_size": 32}
    return tiny.model(tmp_path_factory.mktemp("model") / "wide", vision_cfg=vision)


@pytest.fixture(scope="session")
def at_hand_program(tmp_path_factory, wide_model_dir):
    """A program `segearth` that other programs may start: the command line of this tree, without its imports."""
    import at_hand
    from noise import save_scene

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "at_hand"
    folder.mkdir(exist_ok=True)
    scene = save_scene(tmp_path_factory.mktemp("warm") / "scene.tif", 96, 160)
    return at_hand.program(folder, scene, f"local-dir:{wide_model_dir}")


@pytest.fixture(scope="session")
def upsampler_file(tmp_path_factory):
    """SimFeatUp weights for `model_dir`, all random."""
    import torch
    from safetensors.torch import save_file

    from segearth_cli.model.upsampler import Upsampler

    torch.manual_seed(1)
    made = Upsampler(32, 16, radius=2, keys=8)
    path = tmp_path_factory.mktemp("upsampler") / "upsampler.safetensors"
    save_file({name: value.contiguous() for name, value in made.state_dict().items()}, path)
    return path


@pytest.fixture
def plain_pictures(monkeypatch):
    """Pictures are one pixel: matplotlib, which draws them, takes most of the time of a short run."""
    from PIL import Image

    def figure(**options):
        made = MagicMock()
        made.savefig = lambda file, **_: Image.new("L", (1, 1)).save(file, "png")
        return made

    monkeypatch.setattr("matplotlib.figure.Figure", figure)


@functools.cache
def _parser():
    """The command line's parser, which a real process builds once too."""
    import typer

    from segearth_cli import cli

    return typer.main.get_command(cli.app)


@pytest.fixture
def segearth(capfd, monkeypatch):
    """Runs the command line in this process: (code, out, err) of its arguments; stdin is text."""

    from segearth_cli import cli

    monkeypatch.setattr(cli, "app", _parser())

    def run(*arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["segearth", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capfd.readouterr()
        code = cli.run()
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err, lines=err.splitlines())

    return run


@pytest.fixture
def write_raster(tmp_path):
    """Writes an array (bands, H, W) as a raster: write_raster("name.tif", array, nodata=0, ...) -> its path."""

    def write(name, array, **profile):
        path = tmp_path / name
        options = UTM | {"driver": "GTiff", "photometric": "RGB"} | profile
        extras = {key: options.pop(key, None) for key in ("mask", "colormap", "colorinterp", "overviews", "resampling")}
        if array.shape[0] < 3 or options["driver"] != "GTiff":
            options.pop("photometric")
        options |= {"count": array.shape[0], "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype}
        with rasterio.open(path, "w", **{k: v for k, v in options.items() if v is not None}) as ds:
            if extras["colormap"]:
                ds.write_colormap(1, extras["colormap"])
            if extras["colorinterp"]:
                ds.colorinterp = extras["colorinterp"]
            ds.write(array)
            if extras["mask"] is not None:
                ds.write_mask(extras["mask"])
        if extras["overviews"]:
            with rasterio.open(path, "r+") as ds:
                ds.build_overviews(extras["overviews"], rasterio.enums.Resampling.average)
        return str(path)

    return write


@pytest.fixture
def noise():
    """A seeded generator of pixels: noise(bands, height, width) uint8."""
    rng = np.random.default_rng(0)
    return lambda *shape, dtype=np.uint8, high=256: rng.integers(0, high, shape).astype(dtype)
