"""`--shard-size auto`: shards for all who compute, few windows twice, and the same ones whoever goes on."""

import json
from pathlib import Path

import noise
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segearth_cli.jobs import shard_side
from segearth_cli.jobs.shard_size import LARGEST, SEAMS
from segearth_cli.prediction.plan import Plan

SIDES = [*range(512, LARGEST + 1, 512)]


def plan(height, width, window, stride, factor=1.0):
    return Plan(height, width, int(height * factor), int(width * factor), window, stride, "mean")


@given(
    st.integers(600, 60_000), st.integers(600, 60_000), st.sampled_from([64, 224, 512]), st.sampled_from([0.1, 1, 2]),
    st.integers(1, 4096),
)  # fmt: skip
def test_the_largest_side_gives_shards_for_all_and_keeps_windows_few(height, width, window, factor, needed):
    made = plan(height, width, window, window // 2, factor)
    few = [side for side in SIDES if made.windows_in_blocks(side) <= SEAMS * made.window_count()]
    enough = [side for side in few if made.block_count(side) >= needed]
    side = shard_side(made, needed)
    if enough and needed > 1:
        assert side == max(enough)
    else:
        assert side == (LARGEST if needed == 1 or not few else min(few))


def test_sixteen_who_compute_find_four_shards_each():
    made = plan(20_000, 20_000, 224, 112)
    assert (shard_side(made, 64), made.block_count(2560)) == (2560, 64)


@pytest.fixture
def predict(segearth, model_dir, tmp_path, monkeypatch):
    """Runs `segearth predict` on scene.tif in shards of a side that is found, with the tiny model."""
    monkeypatch.chdir(tmp_path)
    noise.save_scene(tmp_path / "scene.tif", 1100, 1500)
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu", "--precision", "fp32")

    def run(*arguments):
        return segearth("predict", "scene.tif", "-c", "water,roof", *model, "--shard-size", "auto", *arguments)

    return run


def size():
    return json.loads(Path("work/run.json").read_text())["shard_size"]


@pytest.mark.thorough
def test_all_who_join_a_run_take_the_side_that_it_was_begun_with(predict, tmp_path):
    told = predict("--work", "work", "--shard-count", 2, "--shard-index", 0, "--dry-run", "--json")
    assert (json.loads(told.out)["shard_size"], json.loads(told.out)["shards"]) == (512, 5)
    assert predict("--work", "work", "--shard-count", 2, "--shard-index", 0).code == 0
    assert size() == 512
    assert len(list((tmp_path / "work").rglob("r0*.json"))) == 5
    alone = predict("--work", "work", "--resume", "-o", "mask.tif")  # alone it would take 4096
    assert alone.code == 0, alone.err
    assert size() == 512
    assert predict("-o", "whole.tif").code == 0
    assert (tmp_path / "mask.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


@pytest.mark.slow
def test_shares_of_many_scenes_leave_nothing(segearth, model_dir, tmp_path, monkeypatch):
    """With nine scenes for two that compute one shard a scene is enough, but a folder may hold a finer run."""
    monkeypatch.chdir(tmp_path)
    scenes = [noise.save_scene(tmp_path / f"s{number}.tif", 520, 40, seed=number) for number in range(9)]
    (tmp_path / "list.csv").write_text("\n".join(map(str, scenes)) + "\n")
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu", "--precision", "fp32")
    words = ("predict", "--manifest", "list.csv", "-c", "water", *model, "--work", "work")
    (tmp_path / "first.csv").write_text(f"{scenes[4]}\n")
    fine = (*words[:2], "first.csv", *words[3:], "--shard-size", 512, "--shard-count", 2, "--shard-index", 0)
    assert segearth(*fine).code == 0
    for index in range(2):
        assert segearth(*words, "--shard-size", "auto", "--shard-count", 2, "--shard-index", index).code == 0
    assert len(list((tmp_path / "work").rglob("r0*.json"))) == 10


@pytest.mark.parametrize("text", ["big", "0", "700", "-512"])
def test_a_size_that_cannot_be_is_told(segearth, text):
    done = segearth("predict", "scene.tif", "-c", "water", "--work", "work", "--shard-size", text)
    assert done.code == 2
    assert done.lines[
        -1
    ] == f"segearth: --shard-size {text}: need auto or a multiple of 512 px" + ", the mask's blocks" * (text.isdigit())
