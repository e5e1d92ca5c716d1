"""`predict --dry-run` counts what will be done: each figure is held to what a real run takes."""

import json
import sys
from pathlib import Path

import pytest
import shell
from noise import save_scene

from segearth_cli.prediction import Plan

FIFTH = 0.2


@pytest.fixture
def predict(segearth, model_dir, tmp_path, monkeypatch):
    """Runs `segearth predict scene.tif` with the tiny model, in shards of 512 px; with `dry` gives what is told."""
    monkeypatch.chdir(tmp_path)
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu", "--precision", "fp32")
    fixed = ("-c", "water,roof", *model, "--work", "work", "--shard-size", "512", "--stride", "48", "-o", "mask.tif")

    def run(*arguments, dry=False):
        done = segearth("predict", "scene.tif", *fixed, *arguments, *(("--dry-run", "--json") if dry else ()))
        assert done.code == 0, done.err
        return json.loads(done.out) if dry else done.out

    return run


def records():
    return [json.loads(path.read_text()) for path in Path("work").rglob("r0*.json")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "resolution", [(), pytest.param(("--scale", "0.7"), marks=pytest.mark.slow)], ids=["as it is", "resampled"]
)
def test_windows_are_those_that_run_at_seams_and_what_is_done_is_not_counted_again(predict, tmp_path, resolution):
    save_scene(tmp_path / "scene.tif", 600, 1100)
    share = (*resolution, "--shard-index", 1, "--shard-count", 3)
    whole, part = predict(*resolution, dry=True), predict(*share, dry=True)
    assert (whole["shards"], whole["shards_done"], part["shards"]) == (6, 0, 2)
    assert whole["shard_windows"] > whole["windows"]
    assert whole["seams"] == pytest.approx(whole["shard_windows"] / whole["windows"] - 1)
    predict(*share)
    assert sum(record["computed_windows"] for record in records()) == part["shard_windows"]
    left = predict("--resume", *resolution, dry=True)
    assert (left["shards"], left["shards_done"]) == (6, 2)
    assert left["shard_windows"] == whole["shard_windows"] - part["shard_windows"]
    predict("--resume", *resolution)
    assert sum(record["computed_windows"] for record in records()) == whole["shard_windows"]
    assert predict("--resume", "--overwrite", *resolution, dry=True)["shard_windows"] == 0


@pytest.mark.parametrize(("side", "price"), [(4096, 0.10), (1024, 0.43)])
def test_the_price_of_seams_is_that_of_the_documents(side, price):
    plan = Plan(81_920, 81_920, 81_920, 81_920, 224, 112, "mean")
    assert plan.windows_in_blocks(side) / plan.window_count() - 1 == pytest.approx(price, abs=0.02)


@pytest.mark.slow
def test_disk_is_that_of_a_run_once_some_shards_are_done(predict, tmp_path):
    save_scene(tmp_path / "scene.tif", 1024, 1536)
    before = predict("--shard-index", 0, "--shard-count", 3, dry=True)
    assert "shard_disk_expected" not in before
    predict("--shard-index", 0, "--shard-count", 3)
    told = predict("--resume", dry=True)
    predict("--resume")
    shards = sum(path.stat().st_size for path in Path("work").rglob("*.mask.tif"))
    assert told["shard_disk_expected"] == pytest.approx(shards, rel=FIFTH)
    assert told["disk_expected"] == pytest.approx(Path("mask.tif").stat().st_size, rel=FIFTH)
    assert shards < told["shard_disk"] == 1024 * 1536
    assert told["seconds_expected"] > 0


@pytest.mark.slow
def test_empty_shards_count_as_nothing_on_the_disk(predict, tmp_path):
    save_scene(tmp_path / "scene.tif", 512, 2048, holes=[(0, 512, 0, 1024)])
    predict("--shard-index", 0, "--shard-count", 2)  # one of two without data
    told = predict("--resume", dry=True)
    predict("--resume")
    shards = sum(path.stat().st_size for path in Path("work").rglob("*.mask.tif"))
    assert told["shard_disk_expected"] == pytest.approx(shards, rel=FIFTH)


MEASURED = """
import sys, threading, time

def held():
    return [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")][0]

def watch():
    while True:
        peaks[0] = max(peaks[0], held())
        time.sleep(0.005)

peaks = [0]
threading.Thread(target=watch, daemon=True).start()
from segearth_cli import cli
code = cli.run()
print(peaks[0], file=sys.stderr)
sys.exit(code)
"""


def peak(*arguments):
    """Bytes that a process of `segearth` held at most, of its own: libraries' pages in memory differ by machine."""
    done = shell.python(MEASURED, *arguments)
    assert done.returncode == 0, done.stderr
    return 1024 * int(done.stderr.split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
@pytest.mark.thorough
@pytest.mark.parametrize("model", ["tiny", "mini"])
def test_memory_is_that_of_a_real_process(segearth, model_dir, tmp_path, monkeypatch, model):
    monkeypatch.setenv("SEGEARTH_CACHE", str(tmp_path / "cache"))  # that knows no phrase
    save_scene(tmp_path / "scene.tif", 340, 560)
    named = ("-m", f"local-dir:{model_dir}", "--upsampler", "none") if model == "tiny" else ("-m", "mini")
    words = ("predict", tmp_path / "scene.tif", "-c", "water,building,forest", *named, "-d", "cpu")
    words += ("--precision", "fp32", "-q", "--overwrite", "-o", tmp_path / "mask.tif")
    told = json.loads(segearth(*words, "--dry-run", "--json").out)
    found = {"memory_new_phrases": peak(*words)}
    if model == "tiny":  # which now knows the phrases
        found["memory"] = peak(*words)
    assert found == pytest.approx({key: told[key] for key in found}, rel=FIFTH)


@pytest.mark.slow
def test_a_dry_run_tells_a_person_what_a_program_is_told(predict, tmp_path):
    save_scene(tmp_path / "scene.tif", 600, 900)
    predict("--shard-index", 0, "--shard-count", 2)
    told, facts = predict("--resume", "--dry-run").splitlines(), predict("--resume", dry=True)
    assert f"4 shards of 512 px (2 done), {facts['shard_windows']} windows in them" in told[0]
    assert f"memory about {facts['memory'] / 1e9:.2f} GB a process" in told[0]
    assert told[1].startswith("  by 2 shards that are done: ")


def test_memory_of_a_card_that_is_named_is_said_not_to_be_counted(predict, segearth, model_dir, tmp_path):
    save_scene(tmp_path / "scene.tif", 600, 600)
    words = (
        "predict",
        "scene.tif",
        "-c",
        "water,roof",
        "-m",
        f"local-dir:{model_dir}",
        "--upsampler",
        "none",
        "--dry-run",
    )
    for device, told in (("cuda:0", True), ("cpu", False), ("auto", False)):
        assert ("memory of cuda:0 is not counted" in segearth(*words, "-d", device).out) is told
    assert "memory of cuda:0, cuda:1 is not" in segearth(*words, "--work", "w", "--devices", "cuda:0,cuda:1").out
