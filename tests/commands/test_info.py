"""`segearth info` tells what is here, and what is broken; `segearth demo` makes a map in an empty folder."""

import json
import shlex
import shutil
import subprocess
from importlib.util import find_spec

import pytest
import rasterio
import torch
from shell import environment

from segearth_cli.raster import read_mask
from segearth_cli.version import __version__


def test_info_tells_versions_devices_models_cache_and_what_auto_runs(segearth, monkeypatch, tmp_path):
    monkeypatch.setenv("SEGEARTH_CACHE", str(tmp_path))
    (tmp_path / "kept").write_bytes(bytes(2_000_000))
    monkeypatch.setenv("SEGEARTH_MODEL", "mini")
    told = json.loads(segearth("info", "--json").out)
    assert told["segearth"]["version"] == __version__
    assert told["gdal"]["gdal"] == rasterio.__gdal_version__
    assert told["libraries"]["rasterio"] == rasterio.__version__
    assert told["devices"][0]["name"] == "cpu"
    assert "mini" in {model["name"] for model in told["models"]}
    assert (told["auto"]["model"], told["auto"]["window"]) == ("mini", 224)
    assert told["cache"] == {"folder": str(tmp_path), "files": 1, "bytes": 2_000_000}
    assert told["environment"]["SEGEARTH_MODEL"] == "mini"


@pytest.mark.parametrize("asked", ["auto", "torch"])
def test_info_tells_what_upsamples(segearth, monkeypatch, asked):
    monkeypatch.setenv("SEGEARTH_KERNELS", asked)
    compiled = find_spec("llvmlite") and asked == "auto" and not torch.cuda.is_available()
    found = "llvm" if compiled else "torch"
    assert json.loads(segearth("info", "--json").out)["auto"]["kernels"] == found
    assert f"kernels {found}" in segearth("info").out


def test_info_is_lines_for_people_that_tell_the_same(segearth, monkeypatch):
    monkeypatch.setenv("SEGEARTH_MODEL", "mini")
    lines = dict(line.split(":", 1) for line in segearth("info").out.splitlines())
    assert lines["auto"].split()[:5] == ["mini", "with", "upsampler", "mini", "on"]
    assert f"{__version__}, in " in lines["segearth"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("script"), reason="needs script, which makes a terminal")
def test_lines_fit_a_terminal_and_are_one_a_fact_elsewhere(at_hand_program):
    facts = {"segearth", "machine", "libraries", "gdal", "devices", "models", "auto", "cache", "environment"}
    words = shlex.join([str(at_hand_program), "info"])
    for terminal in (True, False):
        line = f"stty cols 80; {words}" if terminal else f"{words} | cat"
        done = subprocess.run(["script", "-qec", line, "/dev/null"], capture_output=True, text=True, env=environment())
        lines = [line for line in done.stdout.splitlines() if line and not line.startswith("segearth: looking")]
        heads = [line.split(":")[0] for line in lines if line[0] != " "]
        assert set(heads) == facts
        assert (max(map(len, lines)) <= 80) == terminal


def test_a_part_that_is_broken_is_told_and_the_others_too(segearth, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEGEARTH_CACHE", str(tmp_path / "file" / "in"))
    monkeypatch.setenv("SEGEARTH_MODEL", "no-such-model")
    done = segearth("info", "--json")
    assert done.code == 0
    assert json.loads(done.out)["auto"]["model"] == "none"


@pytest.mark.thorough
def test_the_demo_makes_a_map_and_tells_each_command(segearth, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = segearth("demo")
    assert done.code == 0, done.err
    assert [name for name in done.out.split() if not (tmp_path / name).is_file()] == []
    mask = read_mask("segearth-demo/bahamas.mask.tif")
    assert list(mask.names.values())[:4] == ["water", "forest", "sand", "bare soil"]
    assert sum("$ segearth " in line for line in done.lines) == 3
    again = segearth("demo")
    assert (again.code, len(again.lines)) == (2, 1)
    assert "--overwrite" in again.err
