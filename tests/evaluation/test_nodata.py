"""No class that the list names leaves the figures unsaid, whatever a file says of nodata, masks and transparency."""

import json

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

PLACE = {"crs": "EPSG:32631", "transform": from_origin(500_000, 5_000_000, 10, 10)}
FINE = {"crs": "EPSG:32631", "transform": from_origin(500_000, 5_000_000, 5, 5)}
LIST = ("--classes", "ground,water,roof")
RNG = np.random.default_rng(3)
TRUTH = RNG.integers(0, 3, (30, 40), dtype=np.uint8)
MASK = RNG.integers(0, 3, (30, 40), dtype=np.uint8)


def write(path, array, *, mask=None, **profile):
    array = array if array.ndim == 3 else array[None]
    count, height, width = array.shape
    kind = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": array.dtype}
    with rasterio.open(path, "w", **kind, **profile) as f:
        f.write(array)
        if mask is not None:
            f.write_mask(mask)
    return path


@pytest.fixture
def figures(segearth):
    def run(*arguments):
        done = segearth("evaluate", *arguments, "--json", "-")
        assert done.code == 0, done.err
        return json.loads(done.out) | {"told": done.err}

    return run


def expected(counted=None):
    """The confusion of TRUTH and MASK over the pixels that count."""
    counts = np.zeros((3, 4), int)
    rows = slice(None) if counted is None else counted
    np.add.at(counts, (TRUTH[rows].ravel(), MASK[rows].ravel()), 1)
    return counts.tolist()


def rows_of(scores):
    return {row["code"]: (row["pixels"], row["class"], row["left_out"]) for row in scores["labels"]}


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
@pytest.mark.parametrize("nodata", [None, 0, 1, 2, 255])
@pytest.mark.parametrize("grid", ["same", "finer", "none"])
def test_the_class_list_wins_over_the_nodata_value_of_a_label(tmp_path, figures, grid, nodata, dtype):
    place = {"same": PLACE, "finer": PLACE, "none": {}}[grid]
    label, where = TRUTH.astype(dtype), place
    if grid == "finer":
        label, where = np.kron(label, np.ones((2, 2), dtype)), FINE
    scores = figures(
        write(tmp_path / "m.tif", MASK, nodata=255, **place),
        write(tmp_path / "l.tif", label, nodata=nodata, **where),
        *LIST,
    )
    assert scores["confusion"]["counts"] == expected()
    assert ("nodata by the file of a label, counts as" in scores["told"]) == (nodata in (0, 1, 2))


@pytest.mark.parametrize("nodata", [None, 0, 2])
def test_it_wins_over_that_of_a_mask_too(tmp_path, figures, nodata):
    mask = write(tmp_path / "m.tif", MASK, nodata=nodata, **PLACE)
    scores = figures(mask, write(tmp_path / "l.tif", TRUTH, **PLACE), *LIST)
    assert scores["confusion"]["counts"] == expected()
    assert ("nodata by the file of a mask, counts as" in scores["told"]) == (nodata is not None)


def test_a_transparent_entry_of_a_palette_is_a_class_when_the_list_names_it(tmp_path, figures):
    picture = Image.fromarray(TRUTH).convert("P")
    picture.putdata(TRUTH.ravel().tolist())
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [0] * 759)
    picture.save(tmp_path / "l.png", transparency=0)
    scores = figures(write(tmp_path / "m.tif", MASK), tmp_path / "l.png", *LIST)
    assert scores["confusion"]["counts"] == expected()


@pytest.mark.parametrize("place", [PLACE, {}], ids=["placed", "bare"])
@pytest.mark.parametrize("nodata", [0, 9])
def test_a_nodata_value_that_nothing_names_is_left_out_and_told(tmp_path, figures, nodata, place):
    label = TRUTH + np.uint8(1)
    label[:7] = nodata
    mask = write(tmp_path / "m.tif", MASK, **place)
    scores = figures(mask, write(tmp_path / "l.tif", label, nodata=nodata, **place), *LIST, "--label-offset=-1")
    assert scores["confusion"]["counts"] == expected(slice(7, None))
    assert rows_of(scores)[str(nodata)] == (280, None, "nodata of the label")
    assert f"280 px {nodata} (left out: nodata of the label)" in scores["told"]


def test_a_map_names_a_nodata_value_and_ignore_takes_it_away(tmp_path, figures):
    label = np.where(TRUTH == 2, 99, TRUTH).astype(np.uint8)
    files = write(tmp_path / "m.tif", MASK), write(tmp_path / "l.tif", label, nodata=99)
    assert figures(*files, *LIST, "--map", "99=2")["confusion"]["counts"] == expected()
    without = figures(*files, *LIST, "--map", "99=2", "--ignore", "0")
    assert rows_of(without)["0"] == (int((TRUTH == 0).sum()), None, "ignored")


def test_a_nodata_value_of_colours_means_the_colour_that_has_it_in_all_bands(tmp_path, figures):
    colours = np.array([[0, 0, 0], [0, 0, 255], [0, 255, 0]], np.uint8)  # no red in any
    label = write(tmp_path / "l.tif", colours[TRUTH].transpose(2, 0, 1), nodata=0, photometric="RGB")
    mask, named = write(tmp_path / "m.tif", MASK), "#0000ff=1,#00ff00=2"
    assert figures(mask, label, *LIST, "--map", f"#000000=0,{named}")["confusion"]["counts"] == expected()
    left = figures(mask, label, *LIST, "--map", named)
    assert left["confusion"]["counts"][1:] == expected()[1:]
    assert rows_of(left)["#000000"] == (int((TRUTH == 0).sum()), None, "nodata of the label")


def test_masked_pixels_are_left_out_and_told(tmp_path, figures):
    shown = np.full(TRUTH.shape, 255, np.uint8)
    shown[:5] = 0
    label = write(tmp_path / "l.tif", TRUTH, mask=shown, **PLACE)
    scores = figures(write(tmp_path / "m.tif", MASK, **PLACE), label, *LIST)
    assert scores["confusion"]["counts"] == expected(slice(5, None))
    assert rows_of(scores)[None] == (200, None, "no label, or a masked one")
    mask = write(tmp_path / "n.tif", MASK, mask=shown, **PLACE)
    assert figures(mask, write(tmp_path / "k.tif", TRUTH, **PLACE), *LIST)["pixels_nodata"] == 200


@pytest.mark.parametrize("nodata", [255, 9])
def test_a_label_of_nodata_alone_is_told(tmp_path, segearth, nodata):
    label = write(tmp_path / "l.tif", np.full_like(TRUTH, nodata), nodata=nodata, **PLACE)
    done = segearth("evaluate", write(tmp_path / "m.tif", MASK, **PLACE), label, *LIST)
    assert (done.code, done.out, len(done.lines)) == (1, "", 1)
    assert "the label holds no data there" in done.err


def test_the_rows_of_label_codes_account_for_every_pixel(tmp_path, figures):
    label = TRUTH.copy()
    label[:3], label[3:5] = 255, 77
    moved = {**PLACE, "transform": from_origin(500_050, 5_000_000, 10, 10)}
    mask = write(tmp_path / "m.tif", MASK, nodata=255, **PLACE)
    scores = figures(mask, write(tmp_path / "l.tif", label, nodata=77, **moved), *LIST)
    assert sum(pixels for pixels, _, _ in rows_of(scores).values()) == MASK.size
    counted = sum(pixels for pixels, name, _ in rows_of(scores).values() if name)
    assert counted == scores["pixels"] + scores["pixels_nodata"] == MASK.size - scores["pixels_ignored"]


def test_quiet_says_nothing_and_json_all(tmp_path, segearth):
    files = write(tmp_path / "m.tif", MASK), write(tmp_path / "l.tif", TRUTH, nodata=0)
    done = segearth("evaluate", *files, *LIST, "--json", "-", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert [row["class"] for row in json.loads(done.out)["labels"]] == ["ground", "water", "roof"]
