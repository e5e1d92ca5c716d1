"""`python -m benchmarks.compare`: two states of the code on the same scenes, told in a table."""

import subprocess
import sys
from pathlib import Path

import noise
import pytest
from shell import environment

ROOT = Path(__file__).parents[2]


@pytest.fixture
def compare(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return pytest.importorskip("benchmarks.compare")  # not in the source distribution


def test_the_ratio_is_of_pairs_above_one_where_the_base_takes_longer(compare):
    sides = [compare.Side(name, ROOT, [], ROOT) for name in ("base", "now")]
    costs = [[{"cpu_seconds": s, "peak_gb": 1.0} for s in run] for run in ((4.0, 9.0, 2.0), (2.0, 3.0, 2.0))]
    text = compare.table(sides, costs, {"a.tif": 1.0, "b.tif": 0.5})
    assert "base                         2.00      4.00" in text
    assert "times as fast               1.000     2.000   (3 pairs" in text
    assert "mean / worst                       75.0000 / 50.0000 %" in text


def test_a_commit_that_is_not_there_is_told_in_one_line(compare, tmp_path):
    with pytest.raises(SystemExit, match=r"^nonsense: no commit of .*git log"):
        compare.checked_out("nonsense", tmp_path)


@pytest.mark.thorough
def test_a_commit_and_what_flags_make_of_it_are_run_and_their_masks_compared(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("needs the repository's history")
    scene = noise.save_scene(tmp_path / "scene.tif", 230, 230)
    words = ["-m", "benchmarks.compare", "HEAD", "--scene", scene, "--pairs", "1", "--classes", "water,road,forest"]
    done = subprocess.run(
        [sys.executable, *map(str, words), "--now", "--upsampler none"],
        capture_output=True, text=True, cwd=ROOT, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    base, now = (line for line in done.stdout.splitlines() if line.startswith(("HEAD ", "here --upsampler none")))
    assert all(float(line.split()[-3]) > 0 for line in (base, now))
    share = next(line for line in done.stdout.splitlines() if line.startswith("scene.mask.tif")).split()[1]
    assert 50 < float(share) < 100
