"""Chosen pixels get the logits that a mask is decided from, and no window is run that holds none of them."""

import numpy as np
import pytest
import torch
from tiers import every

from segearth_cli.prediction import by_tile, make_plan, sampled_logits, windows_at
from segearth_cli.prediction.decision import Decider
from segearth_cli.prediction.options import PredictOptions
from segearth_cli.prediction.schedule import Work
from segearth_cli.prediction.tiled import finished_rows
from segearth_cli.raster import open_scene, windows

CPU = torch.device("cpu")
DECIDE = Decider((0, 1, 2), 0.0, None, scores=True)


def by_window(chips, valid=None, overlap=None):
    """Logits that depend on the whole window, as a real model's do."""
    x = chips.float() / 255 * 0.1
    x = x if valid is None else x * valid[:, None]
    return x + x.mean(dim=(2, 3), keepdim=True) * torch.linspace(0, 0.02, x.shape[-1])


@pytest.fixture
def scene(write_raster, noise):
    values = noise(3, 100, 80) | 1
    values[:, 20:60, 30:] = 0
    return open_scene(write_raster("scene.tif", values, nodata=0, tiled=True, blockxsize=32, blockysize=32))


def places_on_data(scene, count, seed=0):
    rng = np.random.default_rng(seed)
    corners = [(0, 0), (0, scene.width - 1), (scene.height - 1, 0), (scene.height - 1, scene.width - 1)]
    drawn = np.concatenate([corners, rng.integers(0, (scene.height, scene.width), (count, 2))])
    whole = make_plan(scene, PredictOptions(), 32).whole
    return drawn[scene.valid(whole)[drawn[:, 0], drawn[:, 1]]]


CASES = [
    {},
    {"blend": "taper"},
    {"scale": 0.37, "blend": "taper"},
    {"scale": 1.6},
    {"long_side": 31},
    {"window": 200},
    {"stride": 7},
    {"tile": (50, 60), "tile_stride": (30, 40), "scale": 0.7},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", every(2, CASES), ids=str)
def test_chosen_pixels_get_the_logits_that_the_mask_is_decided_from(scene, options):
    plan = make_plan(scene, PredictOptions(**{"window": 32, **options}), 32)
    rows = finished_rows(scene, plan, by_window, 3, DECIDE, Work(CPU, 1), plan.whole)
    expected = np.concatenate([row.scores for row in rows], axis=1)
    places = places_on_data(scene, 40)
    for work in ({"batch": 3}, {"beside": 2}):
        logits = np.zeros((len(places), 3), np.float32)
        for part in by_tile(scene, plan, places):
            logits[part.which] = sampled_logits(part.scene, part.plan, by_window, 3, part.places, Work(CPU, **work))
        scores = DECIDE(torch.from_numpy(logits.T.copy())[..., None]).scores[..., 0]
        np.testing.assert_allclose(scores, expected[:, places[:, 0], places[:, 1]], atol=1e-6)  # of float32


@pytest.mark.parametrize("scale", [None, 0.5, 1.6])
def test_windows_that_hold_no_chosen_pixel_are_not_run(scene, scale):
    plan = make_plan(scene, PredictOptions(window=32, scale=scale), 32)
    place = np.array([[80, 15]])
    held = windows_at(plan, place)
    row, col = (np.array(place[0]) + 0.5) * np.array(plan.size) / (plan.height, plan.width) - 0.5
    expected = [
        window
        for window in windows(*plan.size, plan.window, plan.stride)
        if window.row - 1 < row < window.bottom and window.col - 1 < col < window.right
    ]
    assert held == expected
    work = Work(CPU, 1)
    sampled_logits(scene, plan, by_window, 3, place, work)
    assert work.computed == len(held) < plan.window_count()


def test_places_beside_the_windows_that_are_run_have_no_logits(scene):
    plan = make_plan(scene, PredictOptions(window=32), 32)
    places = np.array([[80, 15], [10, 70]])
    logits = sampled_logits(scene, plan, by_window, 3, places, Work(CPU, 1), windows_at(plan, places[:1]))
    assert np.isfinite(logits[0]).all()
    assert np.isnan(logits[1]).all()
