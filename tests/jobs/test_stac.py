"""A run as a STAC collection: valid, complete, the same pixels as the mask, and never written twice."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.validation import validate_dict
from rasterio.control import GroundControlPoint
from rasterio.warp import transform_bounds

from segearth_cli.jobs import claim, complete, open_ledger, write_stac


@pytest.fixture
def run(segearth, model_dir, tmp_path, monkeypatch):
    """Makes a run of a scene in `work`, with shards of 512 px and the tiny model, and its mask."""
    monkeypatch.chdir(tmp_path)
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu", "--precision", "fp32")

    def made(scene, *arguments):
        words = ("-c", "water,roof", *model, "--stride", "64", "--shard-size", "512", "-o", "scene.mask.tif")
        done = segearth("predict", scene, "--work", "work", *words, *arguments)
        assert done.code == 0, done.err

    return made


def checked(path):
    """A document of a collection, held to the core of STAC's schemas, which lie in pystac."""
    document = json.loads(path.read_text(encoding="utf-8"))
    validate_dict(document | {"stac_extensions": []})
    return document


@pytest.fixture
def scene(write_raster, noise):
    pixels = noise(3, 1100, 1300, high=255) + 1
    pixels[:, 512:1024, 512:1024] = 0
    return write_raster("scene.tif", pixels.astype(np.uint8), nodata=0)


@pytest.mark.slow
def test_a_collection_is_valid_and_holds_the_mask_in_cogs(run, segearth, scene, tmp_path):
    run(scene, "--confidence", "sure.tif")
    assert segearth("merge", "work", "-o", "stac", "--format", "stac").code == 0
    for path in tmp_path.glob("stac/**/*.json"):
        if path.name != "source.json":
            checked(path)
    collection = pystac.Collection.from_file(str(tmp_path / "stac" / "collection.json"))
    items = {item.id: item for item in collection.get_items(recursive=True)}
    assert sorted(items) == [f"r0000{r}c0000{c}" for r in range(3) for c in range(3) if (r, c) != (1, 1)]
    with rasterio.open("scene.mask.tif") as mask:
        whole = mask.read(1)
        for item in items.values():
            assert item.get_collection() == collection
            with rasterio.open(item.assets["mask"].get_absolute_href()) as ds:
                assert ds.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                row, col = mask.index(*ds.xy(0, 0))
                assert (ds.read(1) == whole[row : row + ds.height, col : col + ds.width]).all()
                placed = ProjectionExtension.ext(item)
                assert (placed.code, placed.shape) == ("EPSG:32632", [*ds.shape])
                assert np.allclose(placed.transform, tuple(ds.transform)[:6])
                west, south, east, north = transform_bounds(ds.crs, "EPSG:4326", *ds.bounds)
                assert np.allclose(item.bbox, (west, south, east, north), atol=1e-6)
            told = ClassificationExtension.ext(item.assets["mask"]).classes
            assert [(c.value, c.title) for c in told][-3:] == [(1, "water"), (2, "roof"), (255, "nodata")]
    with rasterio.open("stac/mask.vrt") as mosaic:
        assert np.array_equal(mosaic.read(1), whole)
        assert mosaic.tags()["SEGEARTH_CLASSES"]
    with rasterio.open(items["r00000c00000"].assets["mask"].get_absolute_href()) as ds:
        assert ds.overviews(1) == []  # 512 px need none


@pytest.mark.slow
def test_several_processes_write_one_collection_and_each_takes_rows_that_no_other_is_at(run, scene, tmp_path):
    run(scene)
    ledger = open_ledger(Path("work"))
    found, folder = complete(ledger), tmp_path / "stac"
    folder.mkdir()
    with ThreadPoolExecutor() as pool:
        with claim(folder / ".r00001.lock"):  # another one is at this row
            writing = pool.submit(write_stac, ledger, found, folder, "deflate")
            while not (folder / "r00002" / "catalog.json").exists():
                assert not writing.done() or writing.result()
            assert (folder / "r00000" / "catalog.json").exists()
            assert not (folder / "r00001").exists()
            assert not (folder / "collection.json").exists()
        writing.result(60)
    cogs = {path: path.stat().st_ino for path in folder.glob("r*/*.tif")}
    assert len(cogs) == 8
    write_stac(ledger, found, folder, "deflate")
    assert {path: path.stat().st_ino for path in cogs} == cogs
    assert len(checked(folder / "collection.json")["links"]) == 4
    assert [path.name for path in folder.rglob(".*")] == []


@pytest.mark.slow
def test_overviews_of_larger_parts_take_the_most_frequent_class(run, segearth, write_raster, noise):
    run(write_raster("scene.tif", noise(3, 600, 1400)), "--shard-size", "1024")
    assert segearth("merge", "work", "-o", "stac", "--format", "stac").code == 0
    with rasterio.open("stac/r00000/r00000c00000.mask.tif") as ds:
        assert ds.overviews(1) == [2]
        small = ds.read(1, out_shape=(300, 512))
        assert set(np.unique(small)) <= set(np.unique(ds.read(1)))


@pytest.mark.slow
def test_a_collection_that_was_begun_is_gone_on_with_and_another_run_is_refused(run, segearth, scene, tmp_path):
    run(scene)
    words = ("merge", "work", "-o", "stac", "--format", "stac")
    assert segearth(*words).code == 0
    stac = tmp_path / "stac"
    kept = {path: path.stat().st_ino for path in stac.glob("r*/*.tif")}
    lost = stac / "r00000" / "r00000c00001.json"
    lost.unlink()
    (stac / "collection.json").unlink()
    assert segearth(*words).code == 0
    assert lost.exists()
    rewritten = [path.name for path, inode in kept.items() if path.stat().st_ino != inode]
    assert rewritten == ["r00000c00001.mask.tif"]
    other = segearth(*words, "--compress", "lzw")
    assert (other.code, other.lines) == (1, [
        "segearth: --out stac: holds another run, or one packed otherwise; name another folder"
    ])  # fmt: skip
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    assert "holds other files" in segearth("merge", "work", "-o", "full", "--format", "stac").err


def test_a_run_that_lies_nowhere_is_refused_and_one_placed_by_points_is_not(
    run, segearth, write_raster, noise, tmp_path
):
    run(write_raster("scene.tif", noise(3, 100, 100), crs=None, transform=None))
    refused = segearth("merge", "work", "-o", "stac", "--format", "stac")
    assert refused.code == 1
    assert "has no CRS" in refused.lines[0]
    points = [
        GroundControlPoint(r, c, 179.9 + c / 500, 50 - r / 1000) for r, c in ((0, 0), (0, 100), (100, 0), (100, 100))
    ]
    run(
        write_raster("across.tif", noise(3, 100, 100), crs="EPSG:4326", transform=None, gcps=points),
        "--work",
        "far",
        "--overwrite",
    )
    assert segearth("merge", "far", "-o", "stac", "--format", "stac").code == 0
    item = checked(tmp_path / "stac" / "r00000" / "r00000c00000.json")
    assert item["geometry"]["type"] == "MultiPolygon"
    assert np.allclose(item["bbox"], [179.9, 49.9, -179.9, 50])


@pytest.mark.slow
def test_polygons_are_drawn_of_a_collection_as_of_its_mask(run, segearth, scene, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    run(scene)
    assert segearth("merge", "work", "-o", "stac", "--format", "stac").code == 0
    assert segearth("vectorize", "stac", "--partitioned", "-o", "polygons", "-q").code == 0
    assert segearth("vectorize", "scene.mask.tif", "-o", "one.parquet", "-q").code == 0
    tables = [parquet.read_table(tmp_path / name).select(["class", "area_m2"]) for name in ("polygons", "one.parquet")]
    areas = [sorted(zip(*table.to_pydict().values(), strict=True)) for table in tables]
    assert areas[0] == areas[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--format", "stac"), "needs --out"),
        (("--format", "stac", "-o", "x", "--scores", "s.tif"), "has all that the run"),
    ],
)
def test_what_a_collection_cannot_take_is_told(segearth, words, told):
    done = segearth("merge", "work", *words)
    assert done.code == 2
    assert told in done.err
