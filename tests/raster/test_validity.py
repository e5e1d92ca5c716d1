"""What is data: over a matrix of what files say of it, the same as rasterio's `dataset_mask` at every resolution."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from scipy.ndimage import maximum_filter

from segearth_cli.errors import UsageError
from segearth_cli.raster import ReadOptions, Window, open_scene

SIDE, STEP = 64, 4  # pixels of the made scenes, and of a side of the pixels that they are resampled to
NODATA = {"none": None, "one": (0, 0, 0), "each": (0, 7, 200), "nan": (np.nan,) * 3, "out of range": (-9999,) * 3}
MASKS = ("none", "dataset", "each band", "external")
OVERVIEWS = ("none", "picture", "both")
BANDS = ("Red", "Green", "Blue", "Alpha")


def values(nodata, *, alpha):
    """Bands that hold their nodata value in places of their own, and all in one place."""
    kind = np.float32 if nodata is not None and np.isnan(nodata[0]) else np.uint8
    made = np.random.default_rng(0).integers(20, 90, (3, SIDE, SIDE)).astype(kind)
    for band, value in enumerate(nodata or (0, 0, 0)):
        if value != -9999:
            made[band, 8 * band : 8 * band + 6] = made[band, 40:60, 10:33] = value
    if alpha:
        made = np.concatenate([made, np.full((1, SIDE, SIDE), 255, kind)])
        made[3, :, 50:] = 0
    return made


def written(folder, pixels, nodata):
    """A GeoTIFF, or a VRT over it where GeoTIFF cannot hold what is asked for."""
    same = nodata is None or (nodata[0] in (0,) and set(nodata) == {0}) or np.isnan(nodata[0])
    path = folder / "scene.tif"
    profile = {"driver": "GTiff", "count": len(pixels), "height": SIDE, "width": SIDE, "dtype": pixels.dtype}
    extra = {"photometric": "RGB", "tiled": True, "blockxsize": 16, "blockysize": 16}
    if len(pixels) == 4:
        extra["alpha"] = "YES"
    with rasterio.open(path, "w", **profile, **extra, nodata=nodata[0] if nodata and same else None) as ds:
        ds.write(pixels)
        ds.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha][: len(pixels)]
    if same:
        return path
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{i + 1}"><ColorInterp>{BANDS[i]}</ColorInterp>'
        + (f"<NoDataValue>{nodata[i]}</NoDataValue>" if i < 3 else "")
        + f'<SimpleSource><SourceFilename relativeToVRT="1">scene.tif</SourceFilename><SourceBand>{i + 1}</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
        for i in range(len(pixels))
    )
    vrt = folder / "scene.vrt"
    vrt.write_text(f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}">{bands}</VRTDataset>')
    return vrt


def add_mask(path, kind):
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    mask[20:31, :35] = 0
    if kind == "dataset" and path.suffix == ".tif":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as ds:
            ds.write_mask(mask)
    elif kind != "none":
        each = [mask, np.roll(mask, 5, 0), mask.T, mask] if kind == "each band" else [mask]
        with rasterio.open(path) as ds:
            each = each[: ds.count]
        profile = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": len(each), "dtype": "uint8"}
        with rasterio.open(f"{path}.msk", "w", **profile) as ds:
            ds.write(np.stack(each))
            flag = 0 if kind == "each band" else 2
            ds.update_tags(**{f"INTERNAL_MASK_FLAGS_{i + 1}": flag for i in range(4)})


def add_overviews(path, levels=(2, 4)):
    with rasterio.open(path, "r+") as ds:
        ds.build_overviews(list(levels), Resampling.average)


def made(folder, nodata, mask, alpha, overviews):
    path = written(folder, values(NODATA[nodata], alpha=alpha), NODATA[nodata])
    if overviews == "picture":
        add_overviews(path)
    add_mask(path, mask)
    if overviews == "both":
        add_overviews(path)
        if Path(f"{path}.msk").exists() and not Path(f"{path}.msk.ovr").exists():
            add_overviews(Path(f"{path}.msk"))
    return path


def truth(path, bands=(1, 2, 3)):
    """Where GDAL has data in some band, a mask before alpha before nodata, as `dataset_mask` has it; NaN never is."""
    with rasterio.open(path) as ds:
        found = np.logical_or.reduce(ds.read_masks(list(bands)) > 0)
        if ds.count == 4 and not Path(f"{path}.msk").exists() and MaskFlags.per_dataset not in ds.mask_flag_enums[0]:
            found = ds.read(4) > 0  # a nodata value hides the alpha band from `read_masks`
        if ds.count == 3 and MaskFlags.per_dataset not in ds.mask_flag_enums[0] and bands == (1, 2, 3):
            assert (found == (ds.dataset_mask() > 0)).all()
        return found & np.isfinite(ds.read(list(bands))).any(axis=0)


def opened(path, options=None):
    scene = open_scene(str(path), options)
    whole = Window(0, 0, SIDE, SIDE)
    coarse = SIDE // STEP, SIDE // STEP
    return scene.valid(whole), scene.read(whole).valid, scene.read(Window(0, 0, *coarse), coarse).valid


@pytest.mark.parametrize(
    ("nodata", "mask", "alpha", "overviews"),
    list(itertools.product(NODATA, MASKS, (False, True), OVERVIEWS)),
    ids=lambda value: str(value).replace(" ", "-"),
)
def test_what_is_data_is_what_gdal_says_at_every_resolution(tmp_path, nodata, mask, alpha, overviews):
    path = made(tmp_path, nodata, mask, alpha, overviews)
    expected = truth(path)
    valid, full, coarse = opened(path)
    assert (valid == expected).all()
    assert (full == expected).all()
    blocks = expected.reshape(SIDE // STEP, STEP, SIDE // STEP, STEP).any(axis=(1, 3))
    if (nodata, overviews) != ("nan", "both") or mask == "none":  # GDAL averages NaN into overviews of what has a mask
        assert coarse[blocks].all()  # a coarse pixel that covers any data is data
    near = maximum_filter(blocks, 3)  # the kernel reaches half a pixel into the neighbours
    assert not coarse[~near].any()


@pytest.mark.parametrize("bands", [(1,), (2,), (3, 2, 1), (2, 2, 2)], ids=str)
@pytest.mark.parametrize(("nodata", "mask"), [("each", "none"), ("one", "none"), ("nan", "none"), ("one", "each band")])
def test_only_the_bands_that_are_drawn_count(tmp_path, nodata, mask, bands):
    path = made(tmp_path, nodata, mask, alpha=False, overviews="none")
    valid, full, _ = opened(path, ReadOptions(bands))
    assert (valid == truth(path, bands)).all()
    assert (full == valid).all()


@pytest.mark.parametrize(("nodata", "options", "told"), [
    ("each", {}, True), ("each", {"nodata": "7"}, False), ("each", {"alpha": False}, False),
    ("one", {}, False), ("out of range", {}, False), ("none", {}, False),
])  # fmt: skip
def test_a_nodata_value_that_alpha_overrules_is_told(tmp_path, nodata, options, told):
    scene = open_scene(str(made(tmp_path, nodata, "none", alpha=True, overviews="none")), ReadOptions(**options))
    assert any("not the nodata value 7; --no-alpha" in line for line in scene.notices) == told


def over(path, kind, nodata):
    """A VRT over a one-band raster, which takes nodata values that GeoTIFF would round."""
    with rasterio.open(path) as ds:
        size = f'rasterXSize="{ds.width}" rasterYSize="{ds.height}"'
    vrt = path.with_suffix(".vrt")
    vrt.write_text(
        f'<VRTDataset {size}><VRTRasterBand dataType="{kind}" band="1"><NoDataValue>{nodata}</NoDataValue>'
        f'<SimpleSource><SourceFilename relativeToVRT="1">{path.name}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return vrt


FLOATS = st.sampled_from([0.1, -9999.0, 1e-38, -3.4028234663852886e38, 3.4e38]) | st.floats(
    -(2.0**126), 2.0**126, width=32
)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FLOATS, st.lists(st.floats(-17, -1), min_size=SIDE, max_size=SIDE), st.sampled_from(["float32", "float64"]))
@example(-3.402823e38, [-7.0] * SIDE, "float32")  # as written by programs that print six digits
def test_floats_are_nodata_where_gdal_says(write_raster, nodata, digits, kind):
    values = (np.array([nodata], kind) * (1 + np.power(10.0, digits).astype(kind))).reshape(1, 1, SIDE)
    values[0, 0, :3] = nodata, 0, np.nan
    path = over(Path(write_raster("float.tif", values, crs=None, transform=None)), kind.capitalize(), repr(nodata))
    scene = open_scene(str(path))
    assert (scene.read(Window(0, 0, 1, SIDE)).valid == truth(path, (1,))).all()


@pytest.mark.parametrize(
    ("kind", "value"), [("Int64", -(2**63)), ("Int64", 2**53 + 1), ("UInt64", 2**64 - 1), ("UInt64", 7)]
)
def test_nodata_of_64_bits_is_what_gdal_says(write_raster, kind, value):
    values = np.full((1, 4, 6), 5, kind.lower())
    values[0, :2], values[0, 2] = value, value - 1 if value > 0 else value + 1
    path = over(Path(write_raster("wide.tif", values)), kind, value)
    assert (open_scene(str(path)).read(Window(0, 0, 4, 6)).valid == truth(path, (1,))).all()
    assert open_scene(str(path), ReadOptions(nodata="none")).read(Window(0, 0, 4, 6)).valid.all()


# chosen otherwise than the file says


def test_nodata_none_keeps_every_pixel_and_a_value_replaces_the_files_own(tmp_path):
    path = made(tmp_path, "one", "none", alpha=False, overviews="none")
    with rasterio.open(path) as ds:
        pixels = ds.read()
    assert all(valid.all() for valid in opened(path, ReadOptions(nodata="none")))
    seen = int(pixels[0, 0, 0]) or int(pixels[0, 63, 63])
    valid, full, _ = opened(path, ReadOptions(nodata=str(seen)))
    assert (valid == (pixels != seen).any(axis=0)).all()
    assert (full == valid).all()


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7.0", 7), ("-9999", -9999.0)])
def test_a_nodata_value_as_text_is_the_number(text, number):
    assert ReadOptions(nodata=text).validity_facts() == ReadOptions(nodata=float(number)).validity_facts()
    assert ReadOptions(nodata=text).nodata_value() == number


@pytest.mark.parametrize("nodata", [None, 0, 7, 255])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_a_band_flagged_as_alpha_decides_and_dataset_mask_says_the_same_where_it_asks_that_band(
    write_raster, noise, dtype, nodata
):
    pixels = noise(4, 20, 20).astype(dtype)
    pixels[3] = np.where(np.arange(20) < 8, 0, 255)
    pixels[:3, :3] = pixels[:3, 10:13] = nodata or 0
    path = write_raster("scene.tif", pixels, alpha="YES", nodata=nodata)
    valid = open_scene(path).valid(Window(0, 0, 20, 20))
    assert (valid == (pixels[3] > 0)).all()
    with rasterio.open(path) as ds:
        # of other types GDAL knows no alpha; a nodata value hides it, and rasterio then looks for that value in band 4
        asked = nodata == 0 or (nodata is None and dtype in ("uint8", "uint16"))
        assert (valid == (ds.dataset_mask() > 0)).all() == asked


def test_a_mask_and_an_alpha_band_can_be_ignored(tmp_path):
    path = made(tmp_path, "none", "dataset", alpha=True, overviews="none")
    assert (opened(path, ReadOptions(mask=False))[0] == (np.arange(SIDE) < 50)).all()
    assert opened(path, ReadOptions(mask=False, alpha=False))[0].all()


def test_never_written_blocks_are_data_where_no_value_is_nodata(tmp_path):
    profile = {"driver": "GTiff", "count": 3, "height": SIDE, "width": SIDE, "dtype": "uint8", "nodata": 0}
    blocks = {"tiled": True, "blockxsize": 16, "blockysize": 16, "photometric": "RGB", "sparse_ok": True}
    with rasterio.open(tmp_path / "sparse.tif", "w", **profile, **blocks) as ds:
        ds.write(np.full((3, 16, 16), 9, np.uint8), window=Window(16, 16, 16, 16).to_rasterio())
    assert opened(tmp_path / "sparse.tif")[0].sum() == 16 * 16
    assert opened(tmp_path / "sparse.tif", ReadOptions(nodata="none"))[0].all()
    assert opened(tmp_path / "sparse.tif", ReadOptions(nodata="9"))[0].sum() == SIDE * SIDE - 16 * 16


@pytest.mark.parametrize("text", ["", "x", "1,2", "NODATA"])
def test_a_nodata_value_that_is_no_number_is_told(tmp_path, text):
    path = made(tmp_path, "one", "none", alpha=False, overviews="none")
    with pytest.raises(UsageError, match=r"--nodata .*: need a number, nan or none"):
        open_scene(str(path), ReadOptions(nodata=text))


# what a band without data leaves of the others


def test_nodata_of_one_band_poisons_neither_its_stretch_nor_its_neighbours(write_raster):
    ramp = np.broadcast_to(np.linspace(1000, 2000, 80), (3, 60, 80)).astype(np.float32).copy()
    alone = open_scene(write_raster("alone.tif", ramp)).stretch
    ramp[0, :30] = -9999
    path = write_raster("band.tif", ramp, nodata=-9999)
    scene = open_scene(path)
    np.testing.assert_allclose(scene.stretch, alone, rtol=0.01)
    chip = scene.read(Window(0, 0, 20, 40), (20, 40))
    assert chip.valid.all()
    assert (chip.image[0, 12:] == chip.image[1, 12:]).all()  # not darkened by what lies above


def test_nan_in_one_band_is_drawn_as_its_darkest(write_raster):
    floating = np.broadcast_to(np.linspace(0, 1, 50), (3, 40, 50)).astype(np.float32).copy()
    floating[1, :10] = np.nan
    scene = open_scene(write_raster("nan.tif", floating, nodata=np.nan))
    chip = scene.read(Window(0, 0, 40, 50))
    assert chip.valid.all()
    assert (chip.image[1, :10] == 0).all()


# an alpha band that is none


@pytest.mark.parametrize(
    ("kind", "told"), [("infrared", True), ("opaque", False), ("holes", False), ("soft edges", False)]
)
def test_a_band_flagged_as_alpha_that_takes_many_values_is_told(write_raster, noise, kind, told):
    alpha = np.full((1, 300, 300), 255, np.uint8)
    if kind == "infrared":
        alpha = noise(1, 300, 300)
    if kind == "holes":
        alpha[0, 100:200] = 0
    if kind == "soft edges":
        alpha[0, :, 140:144] = np.arange(300)[:, None] // 2
    scene = open_scene(write_raster("rgba.tif", np.concatenate([noise(3, 300, 300), alpha]), alpha="YES"))
    assert any("flagged as alpha" in line and "--no-alpha" in line for line in scene.notices) == told
