"""What a scene's pixels become: bands, validity, 8 bits, resampling; and the lines for what cannot be read."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.shutil
import torch
import torch.nn.functional as F
from conftest import SHARED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.transform import Affine, from_gcps

from segearth_cli.errors import RasterError, UsageError
from segearth_cli.raster import ReadOptions, inspect_scene, open_scene, parse_bands, parse_stretch
from segearth_cli.raster.grid import Window
from segearth_cli.raster.resample import resampling

C = ColorInterp
UNMARKED = "none marked as red, green and blue; name"


def whole(scene, size=None):
    size = size or (scene.height, scene.width)
    return scene.read(Window(0, 0, *size), size)


# bands


def test_bands_go_by_their_meaning(write_raster, noise):
    values = noise(4, 20, 30)
    path = write_raster("bgrn.tif", values, colorinterp=[C.blue, C.green, C.red, C.undefined], photometric=None)
    assert (whole(open_scene(path)).image == values[[2, 1, 0]]).all()


def test_bands_go_by_the_flag_before_their_meaning(write_raster, noise):
    values = noise(4, 20, 30)
    path = write_raster("rgbn.tif", values)
    assert (whole(open_scene(path, ReadOptions((4, 1, 2)))).image == values[[3, 0, 1]]).all()


def test_one_band_is_grey_with_a_notice(write_raster, noise):
    values = noise(1, 20, 30)
    scene = open_scene(write_raster("grey.tif", values))
    assert (whole(scene).image == values[[0, 0, 0]]).all()
    assert any("one band, read as grey" in line for line in scene.notices)


def test_palettes_are_expanded(write_raster, noise):
    colours = {0: (10, 20, 30, 255), 1: (200, 100, 50, 255), 2: (1, 2, 3, 255)}
    codes = noise(1, 20, 30, high=3)
    chip = whole(open_scene(write_raster("palette.tif", codes, colormap=colours, nodata=2)))
    expected = np.array([colours[code][:3] for code in range(3)])[codes[0]].transpose(2, 0, 1)
    assert (chip.image == expected)[:, codes[0] < 2].all()
    assert (chip.valid == (codes[0] < 2)).all()


@pytest.mark.parametrize(
    ("bands", "asked", "line"),
    [
        (
            5,
            None,
            f"5 bands, {UNMARKED} those with --bands RED,GREEN,BLUE, or one to read as grey",
        ),
        (2, None, f"2 bands, {UNMARKED} one with --bands N"),
        (3, (1, 2, 7), "--bands 1,2,7: the scene has bands 1 to 3"),
        (3, (0, 1, 2), "--bands 0,1,2: the scene has bands 1 to 3"),
    ],
)
def test_bands_that_cannot_be_meant_are_told(write_raster, noise, bands, asked, line):
    path = write_raster("bands.tif", noise(bands, 4, 4), photometric=None, colorinterp=[C.undefined] * bands)
    with pytest.raises(RasterError) as caught:
        open_scene(path, ReadOptions(asked))
    assert str(caught.value) == f"{path}: {line}"


@pytest.mark.parametrize("asked", [(), (1, 2), (1, 2, 3, 4)])
def test_two_or_four_bands_are_bad_usage(write_raster, noise, asked):
    with pytest.raises(UsageError, match="need three bands"):
        open_scene(write_raster("rgb.tif", noise(4, 4, 4)), ReadOptions(asked))


# validity


def test_nodata_means_every_band_has_it(write_raster, noise):
    values = noise(3, 30, 40) | 1
    values[:, :5] = 0
    values[0, 20:] = 0  # a pure colour is data
    chip = whole(open_scene(write_raster("nodata.tif", values, nodata=0)))
    assert not chip.valid[:5].any()
    assert chip.valid[5:].all()


def test_a_nodata_value_out_of_the_types_range_hides_nothing(write_raster, noise):
    vrt = write_raster("in.tif", noise(3, 10, 10)).replace("in.tif", "in.vrt")
    with rasterio.open(vrt.replace(".vrt", ".tif")) as ds:
        data = ds.profile
    assert data["dtype"] == "uint8"
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{i}"><NoDataValue>-9999</NoDataValue><ColorInterp>{name}</ColorInterp>'
        f'<SimpleSource><SourceFilename relativeToVRT="1">in.tif</SourceFilename><SourceBand>{i}</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
        for i, name in enumerate(("Red", "Green", "Blue"), start=1)
    )
    with open(vrt, "w") as f:  # noqa: PTH123
        f.write(f'<VRTDataset rasterXSize="10" rasterYSize="10">{bands}</VRTDataset>')
    assert whole(open_scene(vrt)).valid.all()


def test_alpha_and_internal_mask_and_nan(write_raster, noise):
    hole = np.zeros((30, 40), bool)
    hole[3:9, 5:20] = True
    rgba = np.concatenate([noise(3, 30, 40), np.where(hole, 0, 255).astype(np.uint8)[None]])
    masked = noise(3, 30, 40)
    floating = noise(3, 30, 40).astype(np.float32)
    floating[:, hole] = np.nan
    floating[:, 0, 0] = np.inf
    paths = [
        write_raster("rgba.tif", rgba, alpha="YES"),
        write_raster("mask.tif", masked, mask=np.where(hole, 0, 255).astype(np.uint8)),
        write_raster("nan.tif", floating, nodata=np.nan),
    ]
    for path in paths:
        valid = whole(open_scene(path)).valid
        assert not valid[hole].any(), path
        assert valid[~hole].sum() >= (~hole).sum() - 1, path
    assert not valid[0, 0]  # infinity is no data


@pytest.mark.parametrize("interleave", ["band", "pixel"])
def test_blocks_never_written_are_nodata_and_others_are_not(noise, interleave, tmp_path):
    path = tmp_path / "sparse.tif"
    profile = {
        "count": 3,
        "height": 96,
        "width": 96,
        "dtype": "uint8",
        "tiled": True,
        "blockxsize": 32,
        "blockysize": 32,
    }
    with rasterio.open(
        path, "w", driver="GTiff", nodata=0, sparse_ok=True, photometric="RGB", interleave=interleave, **profile
    ) as ds:
        ds.write(noise(3, 32, 32) | 1, window=rasterio.windows.Window(32, 32, 32, 32))
        ds.write(noise(32, 32) | 1, 2, window=rasterio.windows.Window(64, 0, 32, 32))  # green alone
    scene = open_scene(str(path))
    expected = np.zeros((96, 96), bool)
    expected[32:64, 32:64] = expected[:32, 64:] = True
    assert (whole(scene).valid == expected).all()
    assert (scene.valid(Window(0, 64, 32, 32))).all()
    assert (scene.read(Window(0, 64, 32, 32)).valid).all()


# 8 bits


def test_8_bit_values_are_left_alone(write_raster):
    values = np.full((3, 10, 10), 7, np.uint8)
    assert (whole(open_scene(write_raster("dark.tif", values))).image == 7).all()


def test_a_stretch_is_computed_once_a_scene(write_raster):
    ramp = np.broadcast_to(np.linspace(100, 4000, 200).astype(np.uint16), (3, 100, 200)).copy()
    scene = open_scene(write_raster("ramp.tif", ramp))
    parts = [scene.read(Window(0, col, 100, 40)).image for col in range(0, 200, 40)]
    assert (np.concatenate(parts, axis=2) == whole(scene).image).all()
    low, high = np.percentile(ramp[0], [2, 98])
    np.testing.assert_allclose(scene.stretch, [(low, high)] * 3, rtol=0.02)  # of a decimated read
    expected = np.clip(np.rint((ramp[0] - low) / (high - low) * 255), 0, 255)
    assert np.abs(whole(scene).image[0].astype(int) - expected).max() <= 2


@pytest.mark.parametrize(("height", "width"), [(300, 500), (40, 2100), (3100, 380)])
def test_a_stretch_does_not_depend_on_how_a_file_is_cut_into_blocks(write_raster, noise, height, width):
    """Its sample is every n-th row and column; rows of one block are read together."""
    pixels = noise(3, height, width, dtype=np.uint16, high=9000)
    ways = [{"blockysize": 1}, {"blockysize": 700}, {"tiled": True, "blockxsize": 16, "blockysize": 32}]
    found = {open_scene(write_raster(f"{i}.tif", pixels, **way)).stretch for i, way in enumerate(ways)}
    shrunk = min(1, 1024 / max(height, width))
    down, across = (max(1, side // max(1, round(side * shrunk))) for side in (height, width))
    sample = pixels[:, ::down, ::across].reshape(3, -1)
    assert found == {tuple(tuple(map(float, np.percentile(band, (2, 98)))) for band in sample)}


def test_nodata_does_not_bend_the_stretch(write_raster, noise):
    values = noise(3, 60, 60, dtype=np.uint16, high=1000) + 1000
    alone = open_scene(write_raster("alone.tif", values)).stretch
    values[:, :40] = 0
    with_hole = open_scene(write_raster("hole.tif", values, nodata=0)).stretch
    np.testing.assert_allclose(with_hole, alone, rtol=0.02)


def test_a_stretch_in_the_scenes_own_values(write_raster):
    values = np.array([0, 1000, 2000, 3000, 9000], np.uint16).reshape(1, 1, 5)
    scene = open_scene(write_raster("values.tif", values), ReadOptions(stretch="1000,3000"))
    assert whole(scene).image[0, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.uint32, np.float32, np.float64, np.int8])
def test_every_real_type_gives_a_picture(write_raster, dtype):
    values = np.broadcast_to(np.arange(100).astype(dtype), (1, 50, 100)).copy()
    picture = whole(open_scene(write_raster("typed.tif", values))).image[0, 0].astype(int)
    assert (np.diff(picture) >= 0).all()
    assert picture[0] == 0
    assert picture[-1] == 255


@pytest.mark.parametrize("size", [1e-300, 1e-13, 1e300])
def test_values_of_any_size_are_drawn_alike(write_raster, size):
    ramp = np.linspace(0, 1, 256).reshape(1, 1, 256)
    drawn = [whole(open_scene(write_raster(f"{x}.tif", ramp * x))).image for x in (1.0, size)]
    assert (drawn[0] == drawn[1]).all()


@pytest.mark.parametrize("value", [0, 5])
def test_a_flat_16_bit_scene_is_no_error(write_raster, value, recwarn):
    chip = whole(open_scene(write_raster("flat.tif", np.full((3, 20, 20), value, np.uint16))))
    assert chip.valid.all()
    assert len(np.unique(chip.image)) == 1
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_a_scene_without_data_is_no_error(write_raster):
    scene = open_scene(write_raster("empty.tif", np.zeros((3, 20, 20), np.uint16), nodata=0))
    assert not whole(scene).valid.any()


BAD_STRETCHES = ["", "1", "3,2", "P2,99,1", "P98,P2", "P-1,P50", "P2,P101", "a,b", "nan,1", "-inf,inf", "0,inf", "5,5"]


@pytest.mark.parametrize("rule", BAD_STRETCHES)
def test_a_stretch_that_cannot_be_meant_is_told(rule):
    with pytest.raises(
        UsageError, match=r"--stretch .*: need auto, MIN,MAX, two percentiles such as P2,P98, db or sar"
    ):
        parse_stretch(rule)


@pytest.mark.parametrize("text", ["", "a", "1,,2", "1.5"])
def test_bands_that_are_no_numbers_are_told(text):
    with pytest.raises(UsageError, match="--bands"):
        parse_bands(text)


# resampling


@given(st.integers(1, 80), st.integers(1, 80), st.booleans(), st.data())
def test_part_of_a_resampling_is_a_part_of_the_whole(source, target, antialias, data):
    first = data.draw(st.integers(0, target - 1))
    end = data.draw(st.integers(first + 1, target))
    full_at, full = resampling(source, target, 0, target, antialias=antialias)
    at, part = resampling(source, target, first, end, antialias=antialias)
    spread = np.zeros((end - first, source), np.float32)
    spread[:, at : at + part.shape[1]] = part
    expected = np.zeros((target, source), np.float32)
    expected[:, full_at : full_at + full.shape[1]] = full
    np.testing.assert_allclose(spread, expected[first:end], atol=1e-6)
    np.testing.assert_allclose(part.sum(axis=1), 1, atol=1e-5)
    assert (part >= 0).all()


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(20, 30), (45, 61), (80, 119), (9, 70)], ids=str)
def test_resampling_is_bilinear_as_torch_does_it(write_raster, noise, size, antialias):
    values = noise(3, 40, 60)
    chip = whole(open_scene(write_raster("scene.tif", values), ReadOptions(antialias=antialias)), size)
    tensor = torch.from_numpy(values).double()[None]
    expected = F.interpolate(tensor, size=size, mode="bilinear", align_corners=False, antialias=antialias)[0]
    assert np.abs(chip.image - expected.numpy()).max() < 0.51  # rounded to whole numbers


@pytest.mark.slow
@given(st.integers(1, 160), st.integers(1, 160), st.booleans(), st.booleans(), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_pixel_depends_on_its_place_not_on_its_window(write_raster, rows, cols, antialias, overviews, data):
    rng = np.random.default_rng(3)
    values = rng.integers(0, 60, (3, 96, 80)).astype(np.uint8)  # many zeros, many ties
    path = write_raster(
        "place.tif", values, nodata=0, tiled=True, blockxsize=32, blockysize=32, overviews=[2, 4] if overviews else None
    )
    scene = open_scene(path, ReadOptions(antialias=antialias))
    row, col = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    bottom, right = data.draw(st.integers(row + 1, rows)), data.draw(st.integers(col + 1, cols))
    window = Window(row, col, bottom - row, right - col)
    part, every = scene.read(window, (rows, cols)), whole(scene, (rows, cols))
    scene.close()
    assert (part.image == every.image[:, window.slices[0], window.slices[1]]).all()
    assert (part.valid == every.valid[window.slices]).all()


def test_nodata_does_not_bleed_into_resampled_pixels(write_raster):
    values = np.full((3, 40, 40), 200, np.uint8)
    values[:, :, :13] = 0
    chip = whole(open_scene(write_raster("edge.tif", values, nodata=0)), (17, 17))
    assert (chip.image[:, chip.valid] == 200).all()


def test_a_working_pixel_with_any_data_counts_so_that_its_output_pixels_get_a_class(write_raster):
    values = np.zeros((3, 64, 64), np.uint8)
    values[:, 30, 41] = 90
    chip = whole(open_scene(write_raster("lone.tif", values, nodata=0)), (8, 8))
    assert chip.valid[3, 5]
    assert (chip.image[:, chip.valid] == 90).all()


def test_overviews_give_about_the_same_picture(write_raster):
    ramp = np.broadcast_to(np.linspace(0, 255, 512).astype(np.uint8), (3, 256, 512)).copy()
    with_them = whole(open_scene(write_raster("with.tif", ramp, overviews=[2, 4])), (50, 100)).image.astype(int)
    without = whole(open_scene(write_raster("without.tif", ramp)), (50, 100)).image.astype(int)
    assert np.abs(with_them - without).max() <= 2


def test_an_internal_mask_holds_on_overviews(write_raster, noise):
    mask = np.full((256, 256), 255, np.uint8)
    mask[:, :128] = 0
    scene = open_scene(write_raster("masked.tif", noise(3, 256, 256), mask=mask, overviews=[2, 4]))
    valid = whole(scene, (60, 60)).valid
    assert not valid[:, :29].any()
    assert valid[:, 31:].all()


# where a scene lies


@pytest.mark.parametrize(
    ("crs", "transform", "side"),
    [
        ("EPSG:32632", Affine(0.5, 0, 356000, 0, -0.5, 5645000), 0.5),
        ("EPSG:32632", Affine(0.3, 0.4, 356000, 0.4, -0.3, 5645000), 0.5),  # rotated
        ("EPSG:32632", Affine(0.5, 0, 356000, 0, 0.5, 5645000), 0.5),  # south-up
        ("EPSG:2263", Affine(3, 0, 9e5, 0, -3, 2e5), 3 * 1200 / 3937),  # US survey feet
        ("EPSG:3395", Affine(0.5, 0, 1490000, 0, -0.5, 6890000), 0.5),
    ],
)
def test_the_side_of_a_pixel_in_metres_on_the_ground(write_raster, noise, crs, transform, side):
    scene = open_scene(write_raster("placed.tif", noise(3, 20, 20), crs=crs, transform=transform))
    back = pyproj.Transformer.from_crs(crs, pyproj.CRS(crs).geodetic_crs, always_xy=True)
    place = back.transform(*(transform @ (10, 10)))
    expected = side / np.sqrt(pyproj.Proj(crs).get_factors(*place).areal_scale)
    assert scene.pixel_metres() == pytest.approx(expected, rel=1e-4)


def test_metres_without_a_crs_are_told(write_raster, noise):
    scene = open_scene(write_raster("nowhere.tif", noise(3, 20, 20), crs=None, transform=None))
    assert any("no CRS" in line for line in scene.notices)
    with pytest.raises(RasterError, match="no CRS, so --gsd has no meaning here; use --scale or --long-side"):
        scene.pixel_metres()


def test_ground_control_points_come_along(write_raster, noise):
    points = [
        rasterio.control.GroundControlPoint(r, c, 10 + c, 50 - r) for r, c in ((0, 0), (0, 19), (19, 0), (19, 19))
    ]
    scene = open_scene(write_raster("gcps.tif", noise(3, 20, 20), transform=None, gcps=points, crs="EPSG:4326"))
    assert from_gcps(scene.gcps[0]) == from_gcps(points)
    assert not any("no CRS" in line for line in scene.notices)


# closing


def test_closing_leaves_the_reads_of_other_threads_alone(write_raster, noise):
    path = write_raster("rgb.tif", noise(3, 40, 50))
    scene = open_scene(path)
    with ThreadPoolExecutor(1) as pool:
        before = pool.submit(whole, scene).result()
        scene.close()
        after = pool.submit(whole, scene).result()
    assert (after.image == before.image).all()
    assert str(path) not in open_files()  # closed when their thread ended


def open_files():
    """What this process has open, on Linux."""
    found, folder = set(), Path("/proc/self/fd")
    for file in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):
            found.add(str(file.readlink()))
    return found


# what cannot be read


def one_line(path, options=None):
    with pytest.raises(RasterError) as caught:
        whole(open_scene(str(path), options))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_an_absent_file_is_one_line(tmp_path):
    assert one_line(tmp_path / "absent.tif").endswith("absent.tif: no such file")


def test_a_file_that_is_no_raster_is_one_line(tmp_path):
    (tmp_path / "notes.tif").write_text("no raster")
    assert "not a raster that GDAL can read" in one_line(tmp_path / "notes.tif")
    assert "not a raster that GDAL can read" in one_line(tmp_path)


def test_a_cut_off_file_is_one_line(write_raster, noise, tmp_path):
    content = (tmp_path / write_raster("whole.tif", noise(3, 500, 500))).read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[:200_000])
    assert "cannot read rows" in one_line(tmp_path / "cut.tif")


def test_complex_values_are_one_line(write_raster, noise):
    path = write_raster("complex.tif", noise(1, 4, 4).astype(np.complex64))
    assert "complex values (complex64); need real ones" in one_line(path)


# real scenes


SCENES = sorted((SHARED / "scenes").glob("*.[tj][ip][f2]")) if (SHARED / "scenes").is_dir() else []
NO_RGB = {"naip_rgbn_5m.tif", "landsat7_6band.tif", "sentinel2_13band_int16.tif"}
COMPLEX = {"complex_no_crs.tif"}


def gdal_valid(path, bands):
    """Data as GDAL's own masks and NaN say it: any band that is drawn, no NaN."""
    with rasterio.open(path) as ds:
        valid = np.logical_or.reduce([ds.read_masks(band) > 0 for band in bands])
        if np.issubdtype(ds.dtypes[0], np.floating):
            valid &= np.isfinite(ds.read(list(bands))).all(axis=0)
        return valid


def of_size(path):
    large = path.stat().st_size > 500_000
    return pytest.param(path, id=path.name, marks=pytest.mark.slow if large else ())


@pytest.mark.parametrize("path", [of_size(path) for path in SCENES])
def test_a_real_scene_gives_its_pixels_or_one_line(path):
    if path.name in COMPLEX | NO_RGB:
        line = one_line(path)
        assert ("complex" if path.name in COMPLEX else "--bands") in line
        return
    scene = open_scene(str(path))
    assert (whole(scene).valid == gdal_valid(path, scene.bands)).all()
    chip = scene.read(Window(0, 0, 1, 1), (7, 5))
    assert chip.image.shape == (3, 1, 1)
    scene.close()


# what files mean by their numbers


@pytest.mark.parametrize(("bits", "brightest"), [(1, 1), (2, 3), (4, 15), (7, 127), (8, 255)])
@pytest.mark.parametrize("photometric", ["MINISBLACK", "MINISWHITE"])
def test_grey_is_drawn_from_black_to_white_as_people_see_it(write_raster, bits, brightest, photometric):
    values = np.array([[[0, brightest]]], np.uint8)
    path = write_raster("grey.tif", values)
    with rasterio.open(path, "w", driver="GTiff", count=1, height=1, width=2, dtype="uint8", nbits=bits,
                       photometric=photometric) as ds:  # fmt: skip
        ds.write(values)
    shown = whole(open_scene(path)).image[0, 0].tolist()
    assert shown == ([0, 255] if photometric == "MINISBLACK" else [255, 0])


def test_limits_of_a_stretch_are_in_the_units_of_the_band(write_raster):
    values = np.array([1000, 2000, 3000], np.uint16).reshape(1, 1, 3)
    path = write_raster("reflectance.tif", values)
    with rasterio.open(path, "r+") as ds:
        ds.scales, ds.offsets = (0.0001,), (-0.1,)
    scene = open_scene(path, ReadOptions(stretch="0,0.2"))  # reflectance 0 is 1000, 0.2 is 3000
    assert whole(scene).image[0, 0].tolist() == [0, 128, 255]


def test_a_negative_scale_turns_light_and_dark(write_raster):
    path = write_raster("depth.tif", np.array([0, 50, 100], np.uint16).reshape(1, 1, 3))
    with rasterio.open(path, "r+") as ds:
        ds.scales = (-1.0,)
    assert whole(open_scene(path, ReadOptions(stretch="-100,0"))).image[0, 0].tolist() == [255, 128, 0]


@pytest.mark.parametrize(("driver", "options"), [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": "ON"})])
def test_a_picture_that_is_cut_short_is_one_line_and_a_whole_one_none(write_raster, noise, tmp_path, driver, options):
    suffix = ".png" if driver == "PNG" else ".jpg"
    path = Path(
        write_raster(f"picture{suffix}", noise(3, 200, 200), driver=driver, crs=None, transform=None, **options)
    )
    content = path.read_bytes()
    assert whole(open_scene(str(path))).valid.all()
    path.write_bytes(content + b"\0" * 100)
    assert whole(open_scene(str(path))).valid.all()  # padding behind the picture harms nothing
    rasterio.shutil.copy(str(path), tmp_path / "over.vrt", driver="VRT")
    for share in (1, 0.999, 0.9, 0.5):
        path.write_bytes(content[: int(len(content) * share)])
        with ZipFile(tmp_path / f"{share}.zip", "w", ZIP_DEFLATED) as archive:
            archive.write(path, path.name)
        for name in (path, tmp_path / "over.vrt", f"/vsizip/{tmp_path}/{share}.zip/{path.name}"):
            if share == 1:
                assert whole(open_scene(str(name))).valid.all()
            else:
                assert "cut short" in one_line(name)


BARE = [
    ("ENVI", "bare.dat"),
    ("EHdr", "bare.bil"),
    ("RRASTER", "bare.grd"),
    ("PCIDSK", "bare.pix"),
]


@pytest.mark.parametrize(("driver", "name"), BARE)
@pytest.mark.parametrize("packed", [False, True])
def test_pixels_without_a_format_are_cut_short_where_their_header_says_more(
    write_raster, noise, tmp_path, driver, name, packed
):
    path = Path(write_raster(name, noise(3, 50, 60), driver=driver))
    pixels = path.with_suffix(".gri") if driver == "RRASTER" else path
    content = pixels.read_bytes()
    for size in (len(content), len(content) - 1):
        pixels.write_bytes(content[:size])
        if packed:
            with ZipFile(tmp_path / f"{size}.zip", "w", ZIP_DEFLATED) as archive:
                for part in tmp_path.glob("bare.*"):
                    archive.write(part, part.name)
        where = f"/vsizip/{tmp_path}/{size}.zip/{name}" if packed else path
        if size == len(content):
            assert whole(open_scene(str(where), ReadOptions(bands=(1, 2, 3)))).valid.all()
        else:
            assert "cut short" in one_line(where)


@pytest.mark.parametrize("turned", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("packed", [False, True])
def test_an_orientation_that_is_not_applied_is_told(tmp_path, noise, suffix, turned, packed):
    image = Image.fromarray(noise(20, 30, 3))
    exif = Image.Exif()
    exif[0x0112] = turned
    told = {"tiffinfo": {0x0112: turned}} if suffix == "tif" else {"exif": exif}
    image.save(tmp_path / f"turned.{suffix}", **told)
    path = str(tmp_path / f"turned.{suffix}")
    if packed:
        with ZipFile(tmp_path / "packed.zip", "w") as archive:
            archive.write(path, f"turned.{suffix}")
        path = f"/vsizip/{tmp_path}/packed.zip/turned.{suffix}"
    lines = open_scene(path).notices
    assert [f"orientation {turned} is not applied" in line for line in lines].count(True) == (turned != 1)
    assert inspect_scene(path).readings["orientation"].value == turned
