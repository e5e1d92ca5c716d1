"""Shards of many scenes dealt to shares: each goes to one of them, and no share tells of what is not its own."""

import csv
import itertools
from pathlib import Path

import pytest

from segearth_cli.jobs.compute import Share


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("sizes", [[1] * 20, [5, 1, 1, 9], [0, 0, 3], [40]], ids=str)
def test_every_shard_goes_to_one_share_and_shares_are_alike(count, sizes):
    items = [(scene, shard) for scene, size in enumerate(sizes) for shard in range(size)]
    dealt = [
        [(scene, shard) for scene, size in enumerate(sizes) for shard in Share(index, count, scene).of(range(size))]
        for index in range(count)
    ]
    assert sorted(itertools.chain(*dealt)) == items
    loads = [len(share) for share in dealt]
    assert max(loads) - min(loads) <= len([size for size in sizes if size % count])


@pytest.fixture
def predict(segearth, model_dir, tmp_path, monkeypatch):
    """Runs `segearth predict` on the manifest `list.csv` in shards, with the tiny model."""
    monkeypatch.chdir(tmp_path)
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu", "--precision", "fp32")
    fixed = ("--manifest", "list.csv", "-c", "water,roof", *model, "--work", "work", "--shard-size", "512")

    def run(*arguments):
        return segearth("predict", *fixed, "--summary", "sum.csv", *arguments)

    return run


def told(path="sum.csv"):
    rows = csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines())
    return {row["scene"]: row["state"] for row in rows}


def test_a_manifest_is_dealt_and_each_share_tells_of_its_part_alone(predict, write_raster, noise, tmp_path):
    for number, width in enumerate((50, 60, 600)):  # one, one and two shards
        write_raster(f"s{number}.tif", noise(3, 40, width))
    scenes = ["s0.tif", "gone.tif", "s1.tif", "s2.tif"]
    (tmp_path / "list.csv").write_text("scene\n" + "\n".join(scenes) + "\n")
    first = predict("--shard-index", 0, "--shard-count", 2)
    assert (first.code, told()) == (0, {"s0.tif": "part", "s1.tif": "part", "s2.tif": "part"})
    assert first.lines[-1] == "segearth: 3 scenes: 0 done, 0 skipped, 3 part, 0 failed"
    assert len(first.out.splitlines()) == 3
    assert not list(tmp_path.glob("*.mask.tif"))
    second = predict("--shard-index", 1, "--shard-count", 2)
    assert (second.code, told()) == (3, {"gone.tif": "failed", "s2.tif": "part"})
    assert len(list((tmp_path / "work").rglob("r0*.json"))) == 4
    (tmp_path / "list.csv").write_text("s0.tif\ns1.tif\ns2.tif\n")
    joined = predict("--resume")
    assert (joined.code, set(told().values())) == (0, {"done"})
    assert len(list(tmp_path.glob("*.mask.tif"))) == 3
