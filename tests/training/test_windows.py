"""Windows of unlabelled images: seeded, complete, and never of what is held out or holds no data."""

import io

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

from segearth_cli.raster import ReadOptions, open_scene
from segearth_cli.raster.grid import Window
from segearth_cli.training.collection import collect
from segearth_cli.training.windows import Windows, batches, collate, held_out, positions

READ = ReadOptions()


def picture(path, height, width, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return path


def geotiff(path, pixels, **profile):
    bands, height, width = pixels.shape
    shape = {"count": bands, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **profile) as ds:
        ds.write(pixels)
    return path


@pytest.fixture
def folder(tmp_path):
    for i in range(6):
        picture(tmp_path / "set" / f"part{i % 2}" / f"{i}.png", 40 + i, 50, seed=i)
    return tmp_path / "set"


def windows_of(*names, crop=16, seed=0, **more):
    found = collect([str(name) for name in names], [], READ)
    return Windows(found.pictures, crop, seed, READ, **more)


def pixels(windows, numbers):
    return np.stack([windows[i][0].image for i in numbers])


def test_a_window_depends_on_seed_and_number_alone(folder):
    first, again, other = windows_of(folder), windows_of(folder), windows_of(folder, seed=1)
    expected = pixels(first, range(40))
    np.testing.assert_array_equal(pixels(again, reversed(range(40)))[::-1], expected)
    assert not np.array_equal(pixels(other, range(40)), expected)


@pytest.mark.parametrize("workers", [0, 3])
def test_workers_change_nothing(folder, workers):
    windows = windows_of(folder)
    seen = torch.cat([batch.images for batch in batches(windows, positions(3, 9, 4), workers)]).numpy()
    np.testing.assert_array_equal(seen, pixels(windows, range(12, 36)))


def test_devices_share_each_batch_without_overlap():
    alone = list(positions(2, 7, 6))
    shared = [list(positions(2, 7, 6, rank, 3)) for rank in range(3)]
    assert [[i for part in parts for i in part] for parts in zip(*shared, strict=True)] == alone


def test_each_run_through_the_images_takes_every_image_in_proportion_to_its_area(tmp_path):
    picture(tmp_path / "set" / "small.png", 16, 16)
    geotiff(tmp_path / "set" / "large.tif", np.full((3, 64, 80), 7, np.uint8), photometric="RGB")
    windows = windows_of(tmp_path / "set")
    assert len(windows) == 1 + 20
    for epoch in range(3):
        small = [i for i in range(21 * epoch, 21 * epoch + 21) if not (windows[i][0].image == 7).all()]
        assert len(small) == 1


def test_small_images_are_reflected_to_the_window(tmp_path):
    image = np.asarray(Image.open(picture(tmp_path / "a.png", 5, 16))).transpose(2, 0, 1)
    chip, _ = windows_of(tmp_path / "a.png")[0]
    np.testing.assert_array_equal(chip.image, np.pad(image, [(0, 0), (5, 6), (0, 0)], mode="reflect"))


def test_windows_keep_away_from_nodata(tmp_path):
    values = np.zeros((1, 64, 64), np.uint8)
    values[:, :, 40:] = 9
    path = geotiff(tmp_path / "half.tif", values, nodata=0)
    windows = windows_of(path, crop=8)
    shares = [windows[i][0].valid.mean() for i in range(60)]
    assert min(shares) >= 0.9  # of 20 tries each, with over a quarter of all places good


def test_an_image_without_data_gives_no_window(tmp_path):
    path = geotiff(tmp_path / "empty.tif", np.zeros((1, 32, 32), np.uint8), nodata=0)
    assert collate([windows_of(path)[0]]) is None


def test_what_is_held_out_is_never_trained_on(tmp_path, folder):
    geotiff(tmp_path / "set" / "large.tif", np.full((3, 90, 90), 1, np.uint8), photometric="RGB")
    pictures = collect([str(folder)], [], READ).pictures
    places = held_out(pictures, 16, 0, READ, 8)
    assert len(places) == 8
    windows = Windows(pictures, 16, 0, READ, avoid=places)
    drawn = [windows.draw(i)[0] for i in range(300)]
    assert not any(a.overlaps(b) for a in drawn for b in places)
    assert not any(a.overlaps(b) for i, a in enumerate(places) for b in places[:i])


@pytest.mark.parametrize("size", [(17, 17), (90, 80), (300, 40), (128, 128)])
def test_holding_windows_out_leaves_room_to_train(tmp_path, size):
    pictures = collect([str(picture(tmp_path / "only.png", *size))], [], READ).pictures
    places = held_out(pictures, 32, 0, READ, 8)
    windows = Windows(pictures, 32, 0, READ, avoid=places)
    assert all(windows[i][0] is not None for i in range(60))
    assert bool(places) == (min(size) >= 128)


def test_16_bit_scenes_are_stretched_as_predict_does(tmp_path):
    values = np.linspace(100, 3000, 3 * 32 * 32).reshape(3, 32, 32).astype(np.uint16)
    path = geotiff(tmp_path / "deep.tif", values, photometric="RGB")
    fixed = ReadOptions(stretch="0,5100")
    image = Windows(collect([str(path)], [], fixed).pictures, 32, 0, fixed)[0][0].image
    np.testing.assert_array_equal(image, open_scene(str(path), fixed).read(Window(0, 0, 32, 32)).image)
    np.testing.assert_allclose(image, values / 20, atol=1)  # 8 bits of 0-5100


def test_a_file_that_breaks_later_is_told_and_replaced(folder):
    windows = windows_of(folder)
    broken = folder / "part0" / "0.png"
    buffer = io.BytesIO()
    Image.open(broken).save(buffer, "PNG")
    broken.write_bytes(buffer.getvalue()[:200])
    results = [windows[i] for i in range(40)]
    assert all(chip is not None for chip, _ in results)
    assert {"0.png" in line for _, lines in results for line in lines} == {True}
