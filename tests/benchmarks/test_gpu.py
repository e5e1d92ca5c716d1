"""The parts of the benchmark of a card, on a tiny model and the CPU: they run and measure what they say."""

from pathlib import Path

import pytest
import tiny
import torch

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return pytest.importorskip("benchmarks.gpu")  # not in the source distribution


def test_every_part_of_a_batch_is_run_and_timed(gpu):
    acts = []

    def clock(act):
        acts.append(act())
        return float(len(acts))

    segmenter = tiny.segmenter()
    chips = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    found = gpu.parts(segmenter, tiny.clip().visual.eval(), chips, clock)
    logits = acts[4]
    assert logits.shape == (2, 3, 64, 64)
    assert acts[2].shape == logits.shape
    assert found["upsampler_over_vit"] == 3.0
    assert found["windows_per_second"] == 2 / 5 * 1e3


def test_differences_are_those_of_logits_and_winners(gpu):
    segmenter, other = tiny.segmenter(), tiny.segmenter(global_bias=0.0)
    chips = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    assert gpu.differences(segmenter, segmenter, chips) == {"largest_difference": 0.0, "other_pixels_percent": 0.0}
    away = (segmenter(chips) - other(chips)).abs().max()
    assert gpu.differences(segmenter, other, chips)["largest_difference"] == float(away)


@pytest.mark.slow
def test_the_busy_share_of_a_scene_is_a_share(gpu):
    found = gpu.busy(tiny.segmenter(phrases=8), CPU, side=100, batch=2)
    assert found["windows"] > 1
    assert 0 < found["busy_share"] <= 1.01
