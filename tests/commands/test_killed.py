"""A manifest on two processes that are killed at random moments: nothing is lost, nothing is done twice."""

import csv
import random
import signal
import time
from pathlib import Path

import forked
import pytest
from noise import save_scene
from tiers import every

SCENES, KILLS = 10, 5


def started(words, folder, number):
    return forked.start(*words, "--summary", folder / f"sum{number}.csv")


def made(folder):
    """Inodes of what is complete, masks and records of shards."""
    found = [*(folder / "out").glob("*.mask.tif"), *(folder / "work").rglob("r0*.json")]
    return {path: path.stat().st_ino for path in found if not path.name.startswith(".")}


@pytest.mark.slow
@pytest.mark.parametrize("work", every(2, [True, False]), ids=["shards", "scenes"])
def test_killed_at_random_moments_two_processes_end_with_the_same_masks_and_do_nothing_twice(
    segearth, model_dir, tmp_path, work
):
    scenes = [save_scene(tmp_path / f"s{i}.tif", 160, 560, seed=i) for i in range(SCENES)]
    (tmp_path / "list.csv").write_text("scene\n" + "".join(f"{scene}\n" for scene in scenes))
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu", "--precision", "fp32")
    words = ("predict", "--manifest", tmp_path / "list.csv", "-c", "water,roof", *model, "-q", "-o")
    assert segearth(*words, f"{tmp_path / 'direct'}/").code == 0
    words += (f"{tmp_path / 'out'}/",)
    words += ("--work", tmp_path / "work", "--shard-size", 512, "--resume") if work else ()
    moments, complete, killed = random.Random(), {}, 0
    while killed < KILLS and len(made(tmp_path)) < SCENES * (3 if work else 1):
        both = [started(words, tmp_path, number) for number in range(2)]
        time.sleep(moments.uniform(0, 0.7))
        first, second = moments.sample(both, 2)
        first.process.kill()
        time.sleep(moments.uniform(0, 0.3))
        second.process.kill()
        killed += sum(process.finish(60).returncode == -signal.SIGKILL for process in both)
        for path, inode in made(tmp_path).items():
            complete.setdefault(path, inode)
    both = [started(words, tmp_path, number) for number in range(2)]
    assert [process.finish(120).returncode for process in both] == [0, 0]
    states = [list(csv.DictReader((tmp_path / f"sum{number}.csv").open())) for number in range(2)]
    assert [len(rows) for rows in states] == [SCENES, SCENES]
    assert {row["state"] for rows in states for row in rows} <= {"done", "skipped"}
    for mask in (tmp_path / "direct").glob("*.tif"):
        assert (tmp_path / "out" / mask.name).read_bytes() == mask.read_bytes()
    assert {path: Path(path).stat().st_ino for path in complete} == complete
    assert [path for path in tmp_path.rglob(".*") if path.name != ".."] == []
