"""The benchmark of accuracy: its figures are those of the masks that the package makes."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import rasterio

import segearth_cli as segearth

ROOT = Path(__file__).parents[2]


@pytest.fixture
def accuracy(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return pytest.importorskip("benchmarks.accuracy")  # not in the source distribution


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_its_score_is_that_of_the_mask_that_predict_makes(accuracy, model_dir, tmp_path):
    for name in ("img", "mask"):
        (tmp_path / name).mkdir()
    image, label = tmp_path / "img" / "one.png", tmp_path / "mask" / "one.png"
    blocks = np.random.default_rng(0).integers(0, 256, (3, 5, 6), dtype="uint8")
    pixels = blocks.repeat(16, axis=1).repeat(16, axis=2)
    labels = pixels[:1] // 64 % 3
    for path, values in ((image, pixels), (label, labels)):
        with rasterio.open(path, "w", driver="PNG", width=96, height=80, count=len(values), dtype="uint8") as file:
            file.write(values)
    model, classes = f"local-dir:{model_dir}", "background,water,building,tree,road"
    arguments = Namespace(
        model=model, upsampler=None, attentions=["segearth"], precision="fp32", long_side=0, blend="mean", threshold=0.0
    )
    listed = accuracy.class_lists.with_background(accuracy.class_lists.parse(classes), "background")
    found = dict(accuracy.variants(arguments, listed, [image]))
    mask = segearth.predict(image, listed, model=model, upsampler="none", precision="fp32", blend="mean", threshold=0)
    [of_benchmark] = found["segearth, bias 0.3, bilinear"]
    of_mask = accuracy.confusion(mask.array, labels[0], len(listed))
    moved = np.abs(of_benchmark.counts - of_mask.counts).sum() // 2  # the bias is taken away after stitching: rounding
    assert moved <= labels.size // 1000
    assert of_benchmark.counts.sum() == labels.size
    assert len(np.unique(mask.array)) > 3
