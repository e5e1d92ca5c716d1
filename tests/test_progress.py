"""What moves while work goes on: soon after the start, with what is done and how long it takes, and never a flood."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
import rasterio
import shell
from noise import save_scene

SLOWLY = """
import sys, time
from segearth_cli.progress import Extent, progress, underway

with underway("starting"):
    time.sleep(1.5)
with progress("town{}", 20, extent=Extent(4_000_000, 1e6)) as advance:
    with underway("loading a model"):
        time.sleep(1.5)
    for _ in range(20):
        time.sleep(0.05)
        advance(1)
"""


def on_terminal(*words, columns=80, **changes):
    """All that a command shows on a terminal of so many columns, a text each time it went back to the line's start."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        words, stdin=side, stdout=subprocess.DEVNULL, stderr=side, env=shell.environment(**changes)
    )
    os.close(side)
    seen = b""
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:  # Linux says so when the other side is closed
            break
        if not part:
            break
        seen += part
    assert process.wait() == 0
    os.close(main)
    return re.split(r"[\r\n]+", seen.decode())


@pytest.mark.slow
def test_a_terminal_shows_what_is_done_its_speed_and_the_time_left_on_one_line():
    frames = on_terminal(sys.executable, "-c", SLOWLY, TERM="xterm")
    assert max(map(len, frames)) <= 80
    assert next(frame.strip() for frame in frames if frame.strip()) == "starting"
    assert any(re.search(r"town\{\}:   0%\|.*\| loading a model, \d s", frame) for frame in frames)
    assert any(re.search(r"\| \d+/20 windows, [\d,.]+ km2/h, (< 1|\d+) s left", frame) for frame in frames)
    assert not frames[-1].strip()  # nothing of it stays


def test_a_file_gets_a_line_soon_and_then_few(monkeypatch):
    monkeypatch.delenv("SEGEARTH_PROGRESS")
    told = shell.python(SLOWLY).stderr.splitlines()
    assert told[0].startswith("segearth: starting")
    assert 2 <= len(told) <= 3


def test_a_program_that_asks_for_it_gets_a_line_as_often_as_it_says(monkeypatch):
    monkeypatch.setenv("SEGEARTH_PROGRESS", "0.2")
    told = shell.python(SLOWLY).stderr.splitlines()
    assert len(told) > 5
    assert re.fullmatch(r"segearth: town\{\}: \d+/20 windows, [\d,.]+ km2/h, (< 1|\d+) s left", told[-1])


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return save_scene(tmp_path / "town.tif")


def predict(segearth, model_dir, *arguments):
    return segearth(
        "predict", *arguments, "-c", "water,roof", "--background", "water", "-m", f"local-dir:{model_dir}",
        "--upsampler", "none",
    )  # fmt: skip


@pytest.mark.slow
def test_the_last_line_tells_windows_ground_classes_files_and_time(segearth, model_dir, scene):
    done = predict(segearth, model_dir, scene, "--vector", "gpkg", "--confidence", "sure.tif")
    with rasterio.open(scene) as ds:
        hectares = ds.width * ds.height * abs(ds.transform.determinant) / 10_000
    form = r"segearth: \d+ windows?, ([\d.]+) ha: (.*); town.mask.tif, sure.tif, town.gpkg; (< 1|\d+) s"
    found = re.fullmatch(form, done.lines[-1])
    assert done.out == "town.mask.tif\n"
    assert float(found[1]) == pytest.approx(hectares, rel=0.01)
    parts = dict(re.fullmatch(r"(\w+) ([\d.]+) %", part).groups() for part in found[2].split(", "))
    assert parts.keys() == {"water", "roof"}
    assert sum(map(float, parts.values())) == pytest.approx(100, abs=0.2)


@pytest.mark.slow
def test_the_last_line_of_shards_is_that_of_a_run_without_and_a_scene_that_is_done_is_told(segearth, model_dir, scene):
    whole = predict(segearth, model_dir, scene, "-o", "a.tif").lines[-1]
    again = ("--work", "run", "-o", "b.tif", "--resume")
    parts = predict(segearth, model_dir, scene, *again).lines[-1]
    assert parts.split("; ")[0] == whole.split("; ")[0]
    assert predict(segearth, model_dir, scene, *again).lines[-1] == (
        "segearth: b.tif: there already, from the same run"
    )


@pytest.mark.slow
def test_quiet_tells_nothing(segearth, model_dir, scene):
    assert predict(segearth, model_dir, scene, "-q").err == ""


@pytest.mark.slow
def test_a_format_of_polygons_is_no_name_of_a_folder(segearth, model_dir, scene, tmp_path):
    (tmp_path / "out").mkdir()
    save_scene(tmp_path / "village.tif")
    done = predict(segearth, model_dir, scene, "village.tif", "-o", "out", "--vector", "geojson")
    assert done.code == 0
    assert {path.name for path in (tmp_path / "out").glob("*.geojson")} == {"town.geojson", "village.geojson"}
    assert not (tmp_path / "geojson").exists()


@pytest.mark.slow
def test_what_evaluate_and_merge_write_is_told_beside_what_they_print(segearth, model_dir, scene):
    predict(segearth, model_dir, scene, "--work", "run", "-o", "m.tif")
    scored = segearth("evaluate", "m.tif", "m.tif", "-c", "water,roof", "--csv", "scores.csv", "--json", "scores.json")
    assert "segearth: written: scores.json, scores.csv" in scored.lines
    joined = segearth("merge", "run", "-o", "joined.tif")
    assert joined.out == "joined.tif\n"
    assert re.fullmatch(r"segearth: 1 of 1 parts joined: joined.tif; .*", joined.lines[-1])
