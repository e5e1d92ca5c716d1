"""A scene's mask is the same whatever the machine does: batches, threads, regions, memory."""

import itertools
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segearth_cli.errors import SegEarthError
from segearth_cli.prediction.decision import Decider
from segearth_cli.prediction.plan import PredictOptions, make_plan
from segearth_cli.prediction.schedule import Work, work_for
from segearth_cli.prediction.segment import segmented_rows
from segearth_cli.raster import ReadOptions, grid, open_scene
from segearth_cli.raster.grid import Window

CPU = torch.device("cpu")
QUERIES = 3
DECIDE = Decider((0, 1, 2), 0.0, None, scores=True)


def pixelwise(chips, valid=None, overlap=None):
    """Logits that depend on a pixel's colour alone."""
    x = chips.float() / 255 * 0.1
    return x if valid is None else x * valid[:, None]


def by_window(chips, valid=None, overlap=None):
    """Logits that depend on the whole window, as a real model's do."""
    x = pixelwise(chips, valid)
    ramp = torch.linspace(0, 0.02, x.shape[-1])
    return x + x.mean(dim=(2, 3), keepdim=True) * ramp


def run(scene, model=by_window, region=None, *, batch=1, threads=2, decide=DECIDE, work=None, **options):
    """All rows of a region as (codes, confidence, scores), checked to come in order and once."""
    plan = make_plan(scene, PredictOptions(**{"window": 32, **options}), 32)
    work = work or Work(CPU, batch, threads)
    rows = list(segmented_rows(scene, plan, model, QUERIES, decide, work, region))
    region = region or plan.whole
    at = region.row
    for row in rows:
        assert row.window == Window(at, region.col, row.codes.shape[0], region.width)
        at = row.window.bottom
    assert at == region.bottom
    return tuple(
        np.concatenate([getattr(row, name) for row in rows], axis=-2) for name in ("codes", "confidence", "scores")
    )


def same(one, other):
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(one, other, strict=True))


@pytest.fixture
def scene(write_raster, noise):
    values = noise(3, 150, 110) | 1
    values[:, 20:90, 30:] = 0
    values[:, 40:50, 60:70] = 77
    return open_scene(write_raster("scene.tif", values, nodata=0, tiled=True, blockxsize=32, blockysize=32))


def test_a_model_that_gives_no_number_is_told_and_not_taken_for_a_class(scene):
    def broken(chips, valid=None, overlap=None):
        return by_window(chips, valid).index_fill(3, torch.tensor([5]), torch.nan)

    with pytest.raises(SegEarthError, match="no number for some pixels with data; try --precision fp32"):
        run(scene, broken)


RESOLUTIONS = [{}, {"scale": 0.37}, {"scale": 1.6}, {"scale": 3.3}, {"long_side": 31}]


@pytest.mark.parametrize("options", RESOLUTIONS, ids=str)
@pytest.mark.parametrize("blend", ["mean", "taper"])
def test_batches_and_threads_do_not_change_a_bit(scene, options, blend):
    base = run(scene, blend=blend, **options)
    for batch, threads in ((3, 1), (8, 3), (1000, 2)):
        assert same(base, run(scene, batch=batch, threads=threads, blend=blend, **options))


@pytest.mark.parametrize("options", RESOLUTIONS, ids=str)
@pytest.mark.parametrize(("stride", "rows", "cols"), [(16, 64, 64), (13, 37, 110), (32, 150, 23)])
def test_regions_do_not_change_a_bit(scene, options, stride, rows, cols):
    whole = run(scene, stride=stride, batch=4, **options)
    for region in grid.blocks(Window(0, 0, 150, 110), rows, cols):
        codes, confidence, scores = run(scene, region=region, stride=stride, batch=2, **options)
        inside = [array[..., region.slices[0], region.slices[1]] for array in whole]
        assert same((codes, confidence), inside[:2])
        np.testing.assert_allclose(scores, inside[2], atol=3e-7)  # softmax rounds its last bit by the array's shape


@pytest.mark.parametrize("options", [{"scale": 0.3}, {"scale": 0.5}, {"scale": 1.7}, {"scale": 4.0}], ids=str)
def test_resampled_output_is_that_of_the_whole_array(write_raster, noise, options):
    scene = open_scene(write_raster("whole.tif", noise(3, 130, 90)), ReadOptions(antialias=False))
    scores = run(scene, pixelwise, batch=3, **options)[2]
    plan = make_plan(scene, PredictOptions(window=32, **options), 32)
    chip = scene.read(Window(0, 0, *plan.size), plan.size)
    logits = pixelwise(torch.from_numpy(chip.image)[None])
    logits = F.interpolate(logits, size=(130, 90), mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(scores, torch.softmax(logits * 50, dim=0), atol=2e-5)  # float32, times 50


@pytest.mark.parametrize("options", RESOLUTIONS, ids=str)
def test_nodata_is_nodata_and_data_is_not(scene, options):
    valid = scene.valid(Window(0, 0, 150, 110))
    codes, confidence, scores = run(scene, **options)
    assert ((codes == 255) == ~valid).all()
    assert ((confidence == 255) == ~valid).all()
    assert (np.isnan(scores).any(axis=0) == ~valid).all()
    assert (codes[valid] < QUERIES).all()


@pytest.mark.parametrize("scale", [0.05, 0.2, 0.5, 1.0, 2.0])
def test_a_lone_pixel_gets_a_class_of_the_models(write_raster, scale):
    values = np.zeros((3, 120, 120), np.uint8)
    values[:, 70, 83] = [1, 2, 250]  # blue, so class 2
    codes, confidence, _ = run(open_scene(write_raster("lone.tif", values, nodata=0)), pixelwise, scale=scale)
    assert codes[70, 83] == 2
    assert confidence[70, 83] > 240
    assert (codes != 255).sum() == 1


def test_windows_without_data_never_reach_the_model(write_raster):
    values = np.zeros((3, 320, 96), np.uint8)
    values[:, 300:] = 9
    sizes = []

    def model(chips, valid=None, overlap=None):
        sizes.append(len(chips))
        return by_window(chips, valid)

    work = Work(CPU, 4)
    scene = open_scene(write_raster("mostly.tif", values, nodata=0))
    steps = []
    work.progress = steps.append
    run(scene, model, work=work, stride=32)
    assert work.computed == sum(sizes) == 3  # of 30; the last row of three
    assert sum(steps) == 30


def test_a_scene_without_data_runs_no_model(write_raster):
    def never(chips, valid=None, overlap=None):
        raise AssertionError

    scene = open_scene(write_raster("empty.tif", np.zeros((3, 100, 80), np.uint8), nodata=0))
    assert (run(scene, never)[0] == 255).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (5, 40), (31, 33)], ids=str)
def test_scenes_smaller_than_a_window(write_raster, noise, shape):
    scene = open_scene(write_raster("small.tif", noise(3, *shape)))
    for options in ({}, {"scale": 0.5}, {"scale": 3.0}):
        assert run(scene, **options)[0].shape == shape


def test_a_taper_hides_the_edges_of_windows(write_raster):
    scene = open_scene(write_raster("flat.tif", np.full((3, 128, 128), 120, np.uint8)))

    def steepest(blend):
        levels = iter(np.random.default_rng(0).uniform(-0.02, 0.02, 100).tolist())  # each window is off by its own

        def model(chips, valid=None, overlap=None):
            return torch.full((len(chips), QUERIES, 32, 32), next(levels)) * torch.tensor([1, 0, -1])[:, None, None]

        probability = run(scene, model, blend=blend)[2][0]
        return max(np.abs(np.diff(probability, axis=axis)).max() for axis in (0, 1))

    assert steepest("taper") < 0.3 * steepest("mean")


def test_out_of_memory_halves_the_batch_and_changes_nothing(scene):
    sizes, lines = [], []

    def model(chips, valid=None, overlap=None):
        sizes.append(len(chips))
        if len(chips) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return by_window(chips, valid)

    work = Work(CPU, 16, notice=lines.append)
    assert same(run(scene, model, work=work), run(scene))
    assert sizes[:4] == [16, 8, 4, 2]
    assert max(sizes[3:]) == 2
    assert lines == [f"out of memory: going on with --batch-size {n}" for n in (8, 4, 2)]


def test_a_model_that_fails_leaves_no_thread_reading(scene):
    calls = []

    def model(chips, valid=None, overlap=None):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return by_window(chips, valid)

    try:
        run(scene, model)
    except KeyboardInterrupt:  # while its traceback is alive
        assert not [t for t in threading.enumerate() if t.name.startswith("segearth-read")]
    assert len(calls) == 2


@pytest.mark.parametrize("beside", [2, 5])
def test_windows_side_by_side_change_nothing(scene, beside):
    started = threading.Barrier(2, timeout=30)
    lone = []

    def model(chips, valid=None, overlap=None):
        if len(lone) < 2:  # the first two are in work together
            lone.append(len(chips))
            started.wait()
        return by_window(chips, valid)

    work = Work(CPU, beside=beside)
    assert same(run(scene, model, work=work), run(scene))
    assert lone == [1, 1]
    assert work.computed == run_counting(scene)


def run_counting(scene):
    work = Work(CPU, 1)
    run(scene, work=work)
    return work.computed


def test_side_by_side_out_of_memory_takes_fewer_and_changes_nothing(scene):
    lock, inside, most, lines = threading.Lock(), [], [], []

    def model(chips, valid=None, overlap=None):
        with lock:
            inside.append(1)
            most.append(len(inside))
            crowded = len(inside) > 1
        try:
            threading.Event().wait(0.01)
            if crowded:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
            return by_window(chips, valid)
        finally:
            with lock:
                inside.pop()

    work = Work(CPU, beside=4, notice=lines.append)
    assert same(run(scene, model, work=work), run(scene))
    assert lines == [f"out of memory: going on with --batch-size {n}" for n in (2, 1)]
    assert set(most[-8:]) == {1}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("shapes do not match")])
def test_side_by_side_a_model_that_fails_leaves_no_thread(scene, error):
    threads = torch.get_num_threads()
    number, calls = itertools.count(1), []

    def model(chips, valid=None, overlap=None):
        mine = next(number)
        calls.append(mine)
        if mine == 4:
            raise error
        return by_window(chips, valid)

    try:
        run(scene, model, work=Work(CPU, beside=2))
    except (KeyboardInterrupt, RuntimeError):  # while its traceback is alive
        assert not [t for t in threading.enumerate() if t.name.startswith("segearth-")]
    assert 4 <= len(calls) <= 7
    assert torch.get_num_threads() == threads


def test_a_cpu_takes_a_window_for_each_core_and_a_window_as_many_threads_whatever_the_batch(scene):
    many = make_plan(scene, PredictOptions(window=32), 32)
    one = make_plan(scene, PredictOptions(window=224), 32)
    threads = torch.get_num_threads()
    assert work_for(many, CPU, None).beside == work_for(many, CPU, 999).beside == threads
    assert work_for(many, CPU, 1).beside == work_for(one, CPU, None).beside == 1
    assert {work_for(many, CPU, at_once).each for at_once in (None, 1, 2, 999)} == {1}
    assert work_for(one, CPU, None).each == threads
