"""A mask drawn a block at a time: the same polygons as drawn at once, whatever lies across the seams."""

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segearth_cli.vector import VectorizeOptions, partitions, seams, vectorize, vectorize_partitioned

pq = pytest.importorskip("pyarrow.parquet")
QUIET = VectorizeOptions(quiet=True)


def saved(folder, codes, nodata=0, **tags):
    path = folder / "codes.mask.tif"
    place = {"crs": "EPSG:32632", "transform": rasterio.transform.from_origin(356000, 5645000, 0.5, 0.5)}
    size = {"height": codes.shape[0], "width": codes.shape[1], "count": 1, "dtype": codes.dtype}
    with rasterio.open(path, "w", driver="GTiff", nodata=nodata, **size, **place) as ds:
        ds.write(codes, 1)
    return str(path)


def features(*paths):
    """(class, outline) -> the other values, of all features of some files."""
    found = {}
    for path in paths:
        for row in pq.read_table(path).to_pylist():
            outline = shapely.normalize(shapely.from_wkb(row.pop("geometry")))
            assert shapely.is_valid(outline)
            key = (row.pop("class_id"), outline.wkb)
            assert key not in found
            found[key] = row
    return found


def both(folder, codes, side, options=QUIET):
    """The features of a mask drawn at once, and of one drawn in blocks."""
    path, out = saved(folder, codes), folder / "parts"
    out.mkdir(exist_ok=True)
    vectorize(path, folder / "whole.parquet", options)
    vectorize_partitioned(path, out, options, side)
    return features(folder / "whole.parquet"), features(*partitions(path, out, side))


def same(whole, parts):
    assert whole.keys() == parts.keys()
    for key, told in whole.items():
        cut = parts[key]
        assert cut.pop("part_of") == 0
        assert cut["class"] == told["class"]
        assert np.allclose([*cut.values()][1:], [*told.values()][1:])


@st.composite
def masks(draw):
    """Codes, and a side that cuts them into at most 4 x 4 blocks."""
    side = draw(st.integers(1, 7))
    sizes = st.integers(1, 4 * side)
    return draw(arrays.arrays(np.uint8, st.tuples(sizes, sizes), elements=st.integers(0, 3))), side


@pytest.mark.slow
@given(masks())
def test_no_polygon_depends_on_the_blocks(tmp_path_factory, mask):
    same(*both(tmp_path_factory.mktemp("mask"), *mask))


def test_a_region_around_a_corner_of_four_blocks_and_its_holes_are_one(tmp_path):
    codes = np.ones((9, 9), np.uint8)
    codes[2:7, 2:7] = 2
    codes[4, 4] = 0
    whole, parts = both(tmp_path, codes, 4)
    same(whole, parts)
    assert len(parts) == 2


def test_confidence_is_the_mean_over_the_whole_region(tmp_path, noise):
    codes = noise(1, 40, 40, high=3)[0]
    sure = tmp_path / "sure.tif"
    with rasterio.open(saved(tmp_path, codes)) as mask, rasterio.open(
        sure, "w", **mask.profile | {"nodata": 255}
    ) as ds:  # fmt: skip
        ds.write(noise(1, 40, 40))
    same(*both(tmp_path, codes, 16, VectorizeOptions(quiet=True, confidence=sure)))


def test_a_region_too_large_to_join_keeps_its_parts_with_one_number(tmp_path, monkeypatch):
    monkeypatch.setattr(seams, "LARGEST", 30)
    codes = np.zeros((20, 20), np.uint8)
    codes[1::2, 1:19] = 1
    codes[:, 10] = 1  # a comb over all blocks
    codes[0, :3] = 2
    whole, parts = both(tmp_path, codes, 8)
    numbers = [row["part_of"] for (code, _), row in parts.items() if code == 1]
    assert len(numbers) > 4
    assert len(set(numbers)) == 1
    assert numbers[0] > 0
    area = lambda found: sum(row["area_m2"] for (code, _), row in found.items() if code == 1)  # noqa: E731
    assert area(parts) == pytest.approx(area(whole))
    assert [row["part_of"] for (code, _), row in parts.items() if code == 2] == [0]


def test_the_command_writes_a_folder_that_is_read_as_one_table(segearth, tmp_path, noise):
    path = saved(tmp_path, noise(1, 60, 50, high=3)[0])
    out = tmp_path / "polygons.parquet"
    done = segearth("vectorize", path, "--partitioned", "-o", out, "-q")
    assert (done.code, done.out, done.err) == (0, f"{out}\n", "")
    assert sorted(file.name for file in out.iterdir()) == ["r00000.parquet", "seams.parquet"]
    assert segearth("vectorize", path, "-o", tmp_path / "one.parquet", "-q").code == 0
    assert pq.read_table(out).num_rows == pq.read_table(tmp_path / "one.parquet").num_rows
    again = segearth("vectorize", path, "--partitioned", "-o", out)
    assert (again.code, "exists already" in again.err) == (2, True)
    (out / "old.parquet").touch()
    other = segearth("vectorize", path, "--partitioned", "-o", out, "--overwrite")
    assert (other.code, "holds old.parquet" in other.err) == (2, True)


@pytest.mark.parametrize(
    "words", [("--simplify", "1px"), ("--dissolve",), ("--connectivity", "8"), ("--min-area", "9px"), ("-f", "gpkg")]
)
def test_what_needs_the_whole_mask_is_refused_in_one_line(segearth, tmp_path, noise, words):
    path = saved(tmp_path, noise(1, 20, 20, high=3)[0])
    done = segearth("vectorize", path, "--partitioned", "-o", tmp_path / "out", *words)
    assert done.code == 2
    assert len(done.lines) == 1
    assert not (tmp_path / "out").exists()
