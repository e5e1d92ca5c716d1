"""What strangers' rasters may not do: reach outside their folder, onto the network, or for too much memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shell
from rasterio.shutil import copy

from segearth_cli.errors import RasterError
from segearth_cli.raster import Window, open_dataset, open_scene

VRT = """<VRTDataset rasterXSize="40" rasterYSize="40">{more}
  <VRTRasterBand dataType="Byte" band="1"{kind}><SimpleSource>{source}<SourceBand>1</SourceBand></SimpleSource>
  </VRTRasterBand></VRTDataset>"""
INSIDE = '<SourceFilename relativeToVRT="1">a.tif</SourceFilename>'


@pytest.fixture(autouse=True)
def _untrusted(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGEARTH_UNTRUSTED", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def home(tmp_path, write_raster, noise):
    """A stranger's folder with a.tif, and secret.tif beside the folder."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in ("theirs/a.tif", "secret.tif"):
        write_raster(name, noise(1, 40, 40))
    return folder


def vrt(home, source=INSIDE, more="", kind="", name="x.vrt"):
    path = home / name
    path.write_text(VRT.format(source=source, more=more, kind=kind))
    return str(path)


def test_files_and_vrts_of_one_folder_are_read(home):
    inner = vrt(home, name="inner.vrt")
    outer = vrt(home, '<SourceFilename relativeToVRT="1">inner.vrt</SourceFilename>', name="outer.vrt")
    pixels = [open_dataset(name).read(1) for name in (home / "a.tif", inner, outer)]
    np.testing.assert_array_equal(pixels[0], pixels[1])
    np.testing.assert_array_equal(pixels[0], pixels[2])


@pytest.mark.parametrize(
    "named",
    [
        '<SourceFilename relativeToVRT="1">../secret.tif</SourceFilename>',
        '<SourceFilename relativeToVRT="0">{folder}/../secret.tif</SourceFilename>',
        "<SourceFilename>/etc/passwd</SourceFilename>",
        "<sourcefilename>/etc/passwd</sourcefilename>",
        '<SourceFilename relativeToVRT="1">link.tif</SourceFilename>',
        "<SourceFilename>/vsicurl/http://127.0.0.1:9/x.tif</SourceFilename>",
        "<SourceFilename>http://127.0.0.1:9/x.tif</SourceFilename>",
        "<SourceFilename>WMS:http://127.0.0.1:9/?layers=x</SourceFilename>",
        "<SourceFilename>&lt;VRTDataset rasterXSize='1'/&gt;</SourceFilename>",
        '<SourceFilename relativeToVRT="1">steps.vrt</SourceFilename>',
        '<SourceFilename relativeToVRT="1">wms.xml</SourceFilename>',
    ],
)
@pytest.mark.parametrize("name", ["x.vrt", "x.tif"])
def test_a_vrt_that_reaches_out_is_refused_in_one_line(home, named, name):
    (home / "link.tif").symlink_to("../secret.tif")
    vrt(home, '<SourceFilename relativeToVRT="1">../secret.tif</SourceFilename>', name="steps.vrt")
    (home / "wms.xml").write_text(
        "<GDAL_WMS><Service name='TMS'><ServerUrl>http://127.0.0.1:9/</ServerUrl></Service></GDAL_WMS>"
    )
    with pytest.raises(RasterError) as error:
        open_scene(vrt(home, named.format(folder=home), name=name))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "more",
    [
        '<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/etc/passwd</MDI></Metadata>',
        '<Metadata domain="GEOLOCATION"><MDI key="X_DATASET">../secret.tif</MDI></Metadata>',
        "<GDALWarpOptions><Transformer><DEMPath>/etc/passwd</DEMPath></Transformer></GDALWarpOptions>",
        '<Group SourceFilename="/etc/passwd"/>',
    ],
)
def test_other_names_of_files_count_too(home, more):
    with pytest.raises(RasterError, match="refused with --untrusted"):
        open_dataset(vrt(home, more=more))


@pytest.mark.parametrize(
    "text", ["<VRTDataset", '<!DOCTYPE x [<!ENTITY a "b">]>' + VRT.format(source=INSIDE, more="", kind="")]
)
def test_a_vrt_that_cannot_be_looked_through_is_refused(home, text):
    (home / "x.vrt").write_text(text)
    with pytest.raises(RasterError, match="cannot be looked through"):
        open_dataset(home / "x.vrt")


def test_vrts_that_name_each_other_end(home):
    vrt(home, '<SourceFilename relativeToVRT="1">b.vrt</SourceFilename>', name="a.vrt")
    vrt(home, '<SourceFilename relativeToVRT="1">a.vrt</SourceFilename>', name="b.vrt")
    with pytest.raises(RasterError):
        open_scene(str(home / "a.vrt")).read(Window(0, 0, 40, 40))


@pytest.mark.parametrize("driver", ["ENVI", "HFA", "AAIGrid"])
def test_formats_that_are_not_on_the_list_are_refused(home, driver):
    copy(home / "a.tif", home / "b.dat", driver=driver)
    with pytest.raises(RasterError, match=r"b\.dat: not a raster that"):
        open_dataset(home / "b.dat")


def test_limits_are_told(home, monkeypatch):
    monkeypatch.setenv("SEGEARTH_MAX_PIXELS", "1599")
    with pytest.raises(RasterError, match="1,600 px, with --untrusted at most 1,599"):
        open_dataset(home / "a.tif")
    monkeypatch.delenv("SEGEARTH_MAX_PIXELS")
    with rasterio.open(
        home / "bomb.tif", "w", driver="GTiff", width=30_000, height=30_000, count=1, dtype="uint8", sparse_ok=True,
        tiled=True, blockxsize=30_000, blockysize=30_000, compress="deflate",
    ):  # fmt: skip
        pass
    with pytest.raises(RasterError, match="blocks of 900 MB"):
        open_dataset(home / "bomb.tif")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["vectorize", "predict"])
def test_memory_beyond_the_limit_is_refused_in_one_line(home, monkeypatch, command):
    """A picture that is small as a file and large when it is read at once."""
    with rasterio.open(
        home / "large.tif", "w", driver="GTiff", width=30_000, height=30_000, count=1, dtype="uint8", sparse_ok=True,
        tiled=True, compress="deflate", crs="EPSG:32632",
    ):  # fmt: skip
        pass
    words = {
        "vectorize": ["vectorize", "theirs/large.tif", "--block-rows", "30000", "-o", "a.gpkg"],
        "predict": ["predict", "theirs/large.tif", "-c", "water,road", "-d", "cpu", "-o", "a.tif"],
    }[command]
    done = shell.segearth("--untrusted", *words, "-q", SEGEARTH_MAX_MEMORY="500000000")
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not list(Path().glob("a.*"))


SERVER = """
import sys
from flaky import serving
with serving(sys.argv[1]) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def test_nothing_of_it_is_kept_when_it_is_switched_off(home, monkeypatch):
    """The server has a process of its own: rasterio holds Python's lock while GDAL opens the sources of a VRT."""
    tests = str(Path(__file__).parents[1])
    words = [sys.executable, "-c", SERVER, str(home)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": tests}
    with subprocess.Popen(words, **pipes) as server:
        url = server.stdout.readline().strip()
        far = vrt(home, f"<SourceFilename>/vsicurl/{url}/a.tif</SourceFilename>", name="far.vrt")
        open_dataset(home / "a.tif").read(1)
        with pytest.raises(RasterError, match="refused with --untrusted"):
            open_scene(far)
        monkeypatch.setenv("SEGEARTH_UNTRUSTED", "0")
        chips = [open_scene(name).read(Window(0, 0, 40, 40)).image for name in (far, str(home / "a.tif"))]
        server.stdin.close()
    assert chips[1].any()
    np.testing.assert_array_equal(chips[0], chips[1])


def test_nothing_of_it_holds_for_files_of_ones_own(home, monkeypatch):
    monkeypatch.setenv("SEGEARTH_UNTRUSTED", "0")
    outside = vrt(home, '<SourceFilename relativeToVRT="1">../secret.tif</SourceFilename>')
    with open_dataset(outside) as dataset:
        assert dataset.read(1).any()


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_option_may_stand_anywhere_on_the_line(home, place, monkeypatch):
    monkeypatch.delenv("SEGEARTH_UNTRUSTED")
    outside = vrt(home, '<SourceFilename relativeToVRT="1">../secret.tif</SourceFilename>')
    line = ["vectorize", outside]
    line.insert(place, "--untrusted")
    done = subprocess.run([sys.executable, "-m", "segearth_cli", *line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "refused with --untrusted" in done.stderr
    assert not list(Path().glob("*.gpkg"))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "fgb", "shp"])
@pytest.mark.parametrize("asked", ["--aoi", "evaluate"])
def test_vector_data_of_strangers_are_of_the_format_of_their_name(tmp_path, write_raster, noise, suffix, asked):
    """A VRT of vector data names other files."""
    (tmp_path / "secret.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    theirs = tmp_path / f"theirs.{suffix}"
    source = f"<SrcDataSource>{tmp_path / 'secret.geojson'}</SrcDataSource>"
    theirs.write_text(f'<OGRVRTDataSource><OGRVRTLayer name="secret">{source}</OGRVRTLayer></OGRVRTDataSource>')
    mask = write_raster("mask.tif", noise(1, 9, 9, high=2))
    line = (
        ["predict", mask, "-c", "a,b", "--aoi", theirs] if asked == "--aoi" else ["evaluate", mask, theirs, "-c", "a,b"]
    )
    done = shell.segearth(*line, "--untrusted", "-q", cwd=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done.stderr
    assert "cannot be read as vector data" in done.stderr
    assert "secret" not in done.stderr
