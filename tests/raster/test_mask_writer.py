"""Masks as GDAL reads them: where they lie, what they carry, and that a failure leaves nothing."""

import json
import math
import shutil
import subprocess

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC
from rasterio.transform import Affine

from segearth_cli import classes as class_lists
from segearth_cli.classes import NODATA
from segearth_cli.errors import RasterError, SegEarthError
from segearth_cli.raster import FileOptions, Outputs, Rows, open_scene, writing
from segearth_cli.raster.grid import Window

CLASSES = class_lists.with_background(class_lists.parse("water|river,building & roof,Straße"), "none")
GDALINFO = shutil.which("gdalinfo")
RPCS = RPC(
    err_bias=1.0, err_rand=1.0, height_off=10.0, height_scale=500.0, lat_off=50.0, lat_scale=0.1, line_off=60.0,
    line_scale=60.0, long_off=7.0, long_scale=0.1, samp_off=45.0, samp_scale=45.0, line_den_coeff=[1.0] + [0.0] * 19,
    line_num_coeff=[0.0, 0.0, -1.0] + [0.0] * 17, samp_den_coeff=[1.0] + [0.0] * 19,
    samp_num_coeff=[0.0, 1.0] + [0.0] * 18,
)  # fmt: skip


PLAIN = FileOptions()


def rows_of(codes, window, step=100):
    """The pixels of a window in pieces of `step` rows."""
    for first in range(0, window.height, step):
        part = codes[window.row + first : window.row + min(first + step, window.height), window.col : window.right]
        confidence = np.where(part == NODATA, NODATA, 100).astype(np.uint8)
        scores = np.where(part == NODATA, np.nan, np.arange(3)[:, None, None] / 4).astype(np.float32)
        yield Rows(Window(window.row + first, window.col, *part.shape), part, confidence, scores)


def write(scene, codes, folder, region=None, tags=None, form=PLAIN):
    outputs = Outputs(folder / "mask.tif", folder / "confidence.tif", folder / "scores.tif", form=form)
    with writing(outputs, scene, CLASSES, tags or {"SEGEARTH_RUN": "{}"}, region) as writer:
        for rows in rows_of(codes, region or Window(0, 0, *codes.shape)):
            writer.write(rows)
    return outputs


@pytest.fixture
def codes():
    """Blobs of three classes and nodata, 1300 x 700."""
    small = np.random.default_rng(0).choice([0, 1, 2, NODATA], (65, 35))
    return np.kron(small, np.ones((20, 20))).astype(np.uint8)


@pytest.fixture
def scene(write_raster, codes):
    return open_scene(write_raster("scene.tif", np.zeros((3, *codes.shape), np.uint8)))


@pytest.mark.slow
@pytest.mark.parametrize("compress", ["deflate", "zstd", "lzw", "none"])
@pytest.mark.parametrize("layout", ["geotiff", "cog"])
def test_layout_and_compression_change_the_file_and_no_pixel(scene, codes, tmp_path, layout, compress):
    from rio_cogeo import cog_validate

    (tmp_path / "plain").mkdir(), (tmp_path / "other").mkdir()
    plain = write(scene, codes, tmp_path / "plain").by_kind()
    other = write(scene, codes, tmp_path / "other", form=FileOptions(layout, compress)).by_kind()
    for kind, path in other.items():
        with rasterio.open(plain[kind]) as a, rasterio.open(path) as b:
            assert np.array_equal(a.read(), b.read(), equal_nan=kind == "scores")
            assert (a.crs, a.transform, str(a.nodata), a.tags(), a.descriptions) == (
                *(b.crs, b.transform, str(b.nodata), b.tags(), b.descriptions),
            )
            assert (b.profile.get("compress") or "none", b.scales) == (compress, a.scales)
            assert a.overviews(1) == b.overviews(1)
            if kind == "mask":
                assert a.colormap(1) == b.colormap(1)
        if layout == "cog":
            valid, errors, warnings = cog_validate(path, strict=True)
            assert (valid, errors, warnings) == (True, [], [])
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == sorted(
        path.name for path in (tmp_path / "plain").iterdir()
    )


def test_codes_confidence_and_scores_are_written_as_given(scene, codes, tmp_path):
    outputs = write(scene, codes, tmp_path)
    with rasterio.open(outputs.mask) as mask, rasterio.open(outputs.confidence) as confidence:
        assert (mask.read(1) == codes).all()
        assert (mask.dtypes, mask.nodata, mask.compression) == (("uint8",), 255, rasterio.enums.Compression.deflate)
        assert mask.profile["tiled"]
        assert (confidence.read(1) == np.where(codes == NODATA, NODATA, 100)).all()
        assert confidence.scales == (1 / 254,)
    with rasterio.open(outputs.scores) as scores:
        assert (np.isnan(scores.read()) == (codes == NODATA)).all()
        assert scores.descriptions == CLASSES.names
        assert math.isnan(scores.nodata)


@pytest.mark.parametrize(
    "transform",
    [
        Affine(0.5, 0, 356000.123456789, 0, -0.5, 5645000),
        Affine(0.3, 0.4, 356000, 0.4, -0.3, 5645000),  # rotated
        Affine(0.5, 0, 356000, 0, 0.5, 5645000),  # south-up
        Affine(0.5, 0, 356000, 0, -0.25, 5645000),  # oblong
        Affine(-0.5, 0, 356000, 0, -0.5, 5645000),  # mirrored
    ],
    ids=["north-up", "rotated", "south-up", "oblong", "mirrored"],
)
def test_the_transform_is_the_scenes_own(write_raster, tmp_path, transform):
    codes = np.zeros((60, 90), np.uint8)
    scene = open_scene(write_raster("scene.tif", np.zeros((3, 60, 90), np.uint8), transform=transform))
    outputs = write(scene, codes, tmp_path)
    region = Window(20, 30, 40, 50)
    part = write(scene, codes, tmp_path, region).mask
    with rasterio.open(part) as ds:
        assert tuple(ds.transform)[:6] == pytest.approx(tuple(transform @ Affine.translation(30, 20))[:6], abs=1e-9)
    write(scene, codes, tmp_path)
    for path in outputs.paths():
        with rasterio.open(path) as ds, rasterio.open(scene.path) as source:
            assert ds.transform == source.transform
            assert ds.crs == source.crs


@pytest.mark.parametrize("crs", ["EPSG:4326", "ESRI:54009", "EPSG:4326+5773", "+proj=geos +h=35785831 +lon_0=0"])
def test_uncommon_crss_are_kept(write_raster, tmp_path, crs):
    scene = open_scene(write_raster("scene.tif", np.zeros((3, 9, 9), np.uint8), crs=crs))
    with rasterio.open(write(scene, np.zeros((9, 9), np.uint8), tmp_path).mask) as ds:
        assert ds.crs == scene.crs


def test_a_scene_without_a_place_gives_a_mask_without(write_raster, tmp_path):
    scene = open_scene(write_raster("scene.tif", np.zeros((3, 9, 9), np.uint8), crs=None, transform=None))
    with rasterio.open(write(scene, np.zeros((9, 9), np.uint8), tmp_path).mask) as ds:
        assert ds.crs is None
        assert ds.transform.is_identity


def test_ground_control_points_are_carried_and_shifted(write_raster, tmp_path):
    points = [GroundControlPoint(r, c, 7 + c / 9, 50 - r / 9, 3.0) for r, c in ((0, 0), (0, 90), (60, 0), (60, 90))]
    path = write_raster("gcps.tif", np.zeros((3, 60, 90), np.uint8), transform=None, gcps=points, crs="EPSG:4326")
    for region, (row, col) in ((None, (0, 0)), (Window(20, 30, 40, 50), (20, 30))):
        outputs = write(open_scene(path), np.zeros((60, 90), np.uint8), tmp_path, region)
        with rasterio.open(outputs.mask) as ds:
            found, crs = ds.gcps
        assert crs == rasterio.crs.CRS.from_epsg(4326)
        assert [(p.row + row, p.col + col, p.x, p.y, p.z) for p in found] == [
            (p.row, p.col, p.x, p.y, p.z) for p in points
        ]


def test_a_geotransform_beside_control_points_is_the_masks(write_raster, tmp_path):
    path = write_raster("placed.tif", np.zeros((3, 60, 90), np.uint8))
    points = "".join(f'<GCP Pixel="{c}" Line="{r}" X="{9 + c}" Y="{50 - r}"/>' for r, c in ((0, 0), (0, 90), (60, 0)))
    with rasterio.open(path) as ds:
        transform, crs = ds.transform, ds.crs
    rasterio.shutil.copy(path, tmp_path / "both.vrt", driver="VRT")
    text = (tmp_path / "both.vrt").read_text()
    at = text.index("<VRTRasterBand")
    points = f'<GCPList Projection="EPSG:4326">{points}</GCPList>'
    (tmp_path / "both.vrt").write_text(text[:at] + points + text[at:])
    scene = open_scene(str(tmp_path / "both.vrt"))
    assert len(scene.gcps[0]) == 3
    with rasterio.open(write(scene, np.zeros((60, 90), np.uint8), tmp_path).mask) as ds:
        assert (ds.transform, ds.crs) == (transform, crs)


def test_rational_polynomials_are_carried_and_shifted(write_raster, tmp_path):
    path = write_raster("rpcs.tif", np.zeros((3, 120, 90), np.uint8), transform=None, crs=None, rpcs=RPCS)
    for region, (row, col) in ((None, (0, 0)), (Window(20, 30, 40, 50), (20, 30))):
        outputs = write(open_scene(path), np.zeros((120, 90), np.uint8), tmp_path, region)
        with rasterio.open(outputs.mask) as ds:
            assert ds.rpcs.line_off + row == 60
            assert ds.rpcs.samp_off + col == 45
            assert ds.rpcs.lat_off == 50


def test_colours_names_and_classes_are_where_gis_programs_look(scene, codes, tmp_path):
    mask = write(scene, codes, tmp_path, tags={"SEGEARTH_RUN": '{"threshold": 0.5}', "SEGEARTH_VERSION": "1"}).mask
    with rasterio.open(mask) as ds:
        colours = ds.colormap(1)
        assert [colours[code][:3] for code in range(3)] == list(CLASSES.colors)
        assert class_lists.from_tag(ds.tags()["SEGEARTH_CLASSES"]) == CLASSES
        assert json.loads(ds.tags()["SEGEARTH_RUN"]) == {"threshold": 0.5}
        assert ds.tags()["TIFFTAG_SOFTWARE"] == "segearth 1"
        assert ds.descriptions == ("class",)


@pytest.mark.skipif(GDALINFO is None, reason="gdalinfo is not installed")
def test_gdalinfo_lists_the_class_names(scene, codes, tmp_path):
    mask = write(scene, codes, tmp_path).mask
    done = subprocess.run([GDALINFO, "-json", mask], capture_output=True, text=True, check=True)
    plain = subprocess.run([GDALINFO, mask], capture_output=True, text=True, check=True)
    assert done.stderr + plain.stderr == ""
    categories = plain.stdout[plain.stdout.index("Categories:") :].splitlines()[1:4]
    assert [line.split(": ")[1] for line in categories] == ["water", "building & roof", "Straße"]
    assert json.loads(done.stdout)["bands"][0]["noDataValue"] == 255


def test_overviews_are_the_mode(scene, codes, tmp_path):
    with rasterio.open(write(scene, codes, tmp_path).mask) as ds:
        assert ds.overviews(1) == [2, 4]
        half = ds.read(1, out_shape=(650, 350))
    blocks = np.sort(codes.reshape(650, 2, 350, 2).transpose(0, 2, 1, 3).reshape(650, 350, 4), axis=2)
    assert (half == blocks[..., 0])[blocks[..., 0] == blocks[..., 3]].all()  # every block here is of one class
    assert set(np.unique(half)) <= {0, 1, 2, NODATA}


def test_rows_without_data_take_no_room(write_raster, tmp_path):
    scene = open_scene(write_raster("wide.tif", np.zeros((3, 2048, 512), np.uint8)))
    codes = np.full((2048, 512), NODATA, np.uint8)
    codes[:512] = 1
    mask = write(scene, codes, tmp_path).mask
    with rasterio.open(mask) as ds:
        assert (ds.read(1) == codes).all()
        assert ds.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1)
        assert ds.get_tag_item("BLOCK_OFFSET_0_2", "TIFF", bidx=1) is None


def test_a_region_is_written_as_a_file_of_its_own(scene, codes, tmp_path):
    region = Window(100, 30, 900, 600)
    with rasterio.open(write(scene, codes, tmp_path, region).mask) as ds:
        assert (ds.read(1) == codes[region.slices]).all()


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("error", [RuntimeError, Interrupted, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(scene, codes, tmp_path, error):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mask.tif").write_text("an older mask")
    outputs = Outputs(folder / "mask.tif", folder / "confidence.tif")
    with pytest.raises(error), writing(outputs, scene, CLASSES, {}) as writer:
        writer.write(next(rows_of(codes, Window(0, 0, *codes.shape), step=600)))
        raise error
    assert [path.name for path in folder.iterdir()] == ["mask.tif"]
    assert (folder / "mask.tif").read_text() == "an older mask"


def test_names_that_differ_in_their_suffix_alone_do_not_meet(scene, codes, tmp_path):
    outputs = Outputs(tmp_path / "a.tif", tmp_path / "a.tiff")
    with writing(outputs, scene, CLASSES, {}) as writer:
        for rows in rows_of(codes, Window(0, 0, *codes.shape)):
            writer.write(rows)
    assert all(path.is_file() for path in outputs.paths())


def test_an_absent_folder_is_told(scene, codes, tmp_path):
    with pytest.raises(SegEarthError, match="the folder .*absent does not exist; make it or choose another --out"):
        write(scene, codes, tmp_path / "absent")


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 200 kB."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_line_and_leaves_nothing(scene, full_disk):
    codes = np.random.default_rng(0).integers(0, 3, (scene.height, scene.width)).astype(np.uint8)
    with pytest.raises(RasterError, match="cannot write") as caught:
        write(scene, codes, full_disk)
    assert "\n" not in str(caught.value)
    assert list(full_disk.iterdir()) == []
