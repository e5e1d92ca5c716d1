"""Previews: every class in the legend, areas as on the ground, names that stay text, little that is read."""

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import fiona
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_bounds, from_origin
from shell import environment

from segearth_cli.class_colors import default_color
from segearth_cli.classes import NODATA, ClassSet
from segearth_cli.errors import UsageError
from segearth_cli.maps import PreviewOptions, draw, make_sheet
from segearth_cli.raster import Outputs, Rows, Window, class_areas, open_scene, read_mask, small_mask, writing
from segearth_cli.vector import VectorizeOptions, vectorize

ODD = ("a & b", "</script><b>bold", '"><img src=x onerror=alert(1)>', "水体", "$a_1$", "@@SCRIPT@@", "@@")
RUN = {"scene": "scene.tif", "model": "mini", "threshold": 0.25, "bands": [3, 2, 1], "segearth": "0.1.0"}


def class_set(*names):
    colors = tuple(default_color(name, code) for code, name in enumerate(names))
    return ClassSet(names, tuple((name,) for name in names), colors, 0)


@pytest.fixture
def made(write_raster, tmp_path):
    """A scene and its mask: made(codes, names, **profile of the scene) -> their paths."""

    def make(codes, names=("background", "water", "roof"), run=RUN, **profile):
        pixels = np.random.default_rng(0).integers(1, 256, (3, *codes.shape)).astype(np.uint8)
        scene = write_raster("scene.tif", pixels, **profile)
        opened = open_scene(scene)
        with writing(Outputs(tmp_path / "m.tif"), opened, class_set(*names), {"SEGEARTH_RUN": json.dumps(run)}) as w:
            w.write(Rows(Window(0, 0, *codes.shape), codes, codes, None))
        return scene, tmp_path / "m.tif"

    return make


@pytest.fixture
def codes():
    """Blobs of three classes and nodata, 300 x 400."""
    small = np.random.default_rng(1).choice([0, 1, 2, NODATA], (15, 20))
    return np.kron(small, np.ones((20, 20))).astype(np.uint8)


def sheet(mask, scene=None, size=100, **options):
    return make_sheet(str(mask), scene, PreviewOptions(**options), size)


# areas

PLACES = {
    "UTM": {},
    "degrees": {"crs": "EPSG:4326", "transform": from_bounds(5, 40, 15, 60, 400, 300)},
    "Web Mercator far north": {"crs": "EPSG:3857", "transform": from_origin(0, 1.2e7, 2000, 2000)},
    "feet": {"crs": "EPSG:2263", "transform": from_origin(980000, 200000, 3, 3)},
    "rotated": {"transform": rasterio.Affine(0.3, 0.4, 356000, 0.4, -0.3, 5645000)},
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_areas_are_those_of_the_polygons(made, codes, tmp_path, place):
    _, mask = made(codes, **place)
    vectorize(mask, tmp_path / "p.gpkg", VectorizeOptions(quiet=True, classes=("background", "water", "roof")))
    with fiona.open(tmp_path / "p.gpkg") as layer:
        rows = [(f.properties["class"], f.properties["area_m2"]) for f in layer]
    drawn = {name: sum(area for other, area in rows if other == name) for name, _ in rows}
    for row in sheet(mask).legend:  # polygons are within 0.2 %, cells of a 32nd of the raster within 0.1 %
        assert row.hectares * 10_000 == pytest.approx(drawn[row.name], rel=3e-3)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_areas_shares_and_pixels_add_up(made, codes, place):
    _, mask = made(codes, **place)
    found = sheet(mask)
    assert sum(row.share for row in found.legend) == pytest.approx(1)
    assert found.total == pytest.approx(sum(row.hectares for row in found.legend))
    assert [row.pixels for row in found.legend] == [int((codes == code).sum()) for code in range(3)]


def test_a_mask_too_large_to_count_is_known_by_its_table_else_estimated(made, codes, tmp_path):
    _, mask = made(codes, **PLACES["degrees"])
    opened = read_mask(str(mask))
    small = small_mask(opened, (75, 100))
    counted, told = class_areas(opened, small), class_areas(opened, small, most=0)
    assert told.pixels == counted.pixels
    assert told.counted
    for code, area in counted.square_metres.items():
        assert told.square_metres[code] == pytest.approx(area, rel=0.01)  # its pixels are a sample of where it lies
    (tmp_path / "m.tif.aux.xml").unlink()
    guessed = class_areas(opened, small, most=0)
    assert not guessed.counted
    assert sum(guessed.pixels.values()) == pytest.approx(sum(counted.pixels.values()), rel=0.02)


def test_without_a_place_on_the_ground_pixels_are_told(made, codes, tmp_path):
    _, mask = made(codes, crs=None, transform=None)
    found = sheet(mask)
    assert found.metres is None
    assert {row.hectares for row in found.legend} == {None}
    for kind in ("png", "html"):
        draw(mask, tmp_path / f"x.{kind}")
    assert "px" in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_the_scale_is_that_of_the_ground(made, codes):
    _, mask = made(codes, **PLACES["Web Mercator far north"])
    latitude = math.atan(math.sinh(11_700_000 / 6_378_137))  # of the middle, on the sphere
    assert sheet(mask, size=400).metres == pytest.approx(2000 * math.cos(latitude), rel=0.01)
    assert sheet(mask, size=200).metres == pytest.approx(2 * sheet(mask, size=400).metres)


# the legend


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", [("water",), ODD, tuple(f"class {i}" for i in range(255))], ids=["one", "odd", "many"]
)
def test_the_legend_has_a_row_for_each_class_in_the_colour_of_the_palette(made, tmp_path, names):
    codes = (np.arange(40 * 50).reshape(40, 50) % len(names)).astype(np.uint8)
    _, mask = made(codes, names)
    found = sheet(mask)
    with rasterio.open(mask) as ds:
        palette = ds.colormap(1)
    assert [(row.name, row.color) for row in found.legend] == [(n, palette[i][:3]) for i, n in enumerate(names)]
    draw(mask, tmp_path / "x.html")
    draw(mask, tmp_path / "x.png")
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert page.names == list(names)
    assert page.fills == ["#{:02x}{:02x}{:02x}".format(*row.color) for row in found.legend]


class Page(HTMLParser):
    """What a browser would make of a page: names in the legend, elements, what it would fetch."""

    def __init__(self, text):
        super().__init__()
        self.names, self.fills, self.elements, self.links, self.inside = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        told = dict(attrs)
        self.links += [told[key] for key in ("src", "href") if key in told]
        self.fills += [told["fill"]] if tag == "rect" else []
        if tag not in ("input", "rect", "img", "meta"):
            self.inside.append(tag)
        if tag == "span" and "label" in self.inside:
            self.names.append("")

    def handle_endtag(self, tag):
        if tag in self.inside:
            while self.inside.pop() != tag:
                pass

    def handle_data(self, data):
        if self.inside[-1:] == ["span"] and "label" in self.inside and "tbody" in self.inside:
            self.names[-1] += data


def test_a_foreign_mask_of_256_classes_is_shown_too(write_raster, tmp_path):
    codes = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    mask = write_raster("foreign.tif", codes)
    found = sheet(mask)
    assert len(found.legend) == 256
    assert (found.rows == codes[0].astype(int) + 1).all()


# what is drawn


def test_the_mask_alone_is_drawn_in_the_colours_of_its_classes(made, codes, tmp_path):
    _, mask = made(codes)
    draw(mask, tmp_path / "x.png", PreviewOptions(size=400))
    picture = np.asarray(Image.open(tmp_path / "x.png").convert("RGB"))[34:334, 10:410]
    with rasterio.open(mask) as ds:
        table = np.array([ds.colormap(1)[code][:3] for code in range(255)] + [(255, 255, 255)], np.uint8)
    assert (picture == table[codes]).all()


@pytest.mark.parametrize("name", ["\u05de\u05d9\u05dd", "\u0645\u0627\u0621"], ids=["Hebrew", "Arabic"])
def test_figures_stand_behind_a_name_that_is_read_from_right_to_left(made, tmp_path, name):
    """A legend's line ends as that of a name in Latin letters."""
    ends = []
    for one in ("water", name):
        _, mask = made(np.zeros((300, 400), np.uint8), (one,))
        draw(mask, tmp_path / "x.png", PreviewOptions(size=400))
        line = np.asarray(Image.open(tmp_path / "x.png").convert("L"))[360:390].astype(float)
        last = np.flatnonzero((line < 200).any(axis=0))[-1]
        ends.append(line[:, last - 90 : last])  # the figures are some 100 px long
        mask.unlink()
    assert (
        np.abs(ends[0] - ends[1]).mean() < 10
    )  # letters may begin between two pixels; figures before the name differ by 20


def test_scene_mask_and_both_stand_side_by_side(made, codes, tmp_path):
    scene, mask = made(codes)
    draw(mask, tmp_path / "x.png", PreviewOptions(size=400, opacity=0.25), scene)
    picture = np.asarray(Image.open(tmp_path / "x.png").convert("RGB"))
    left, middle, right = (picture[34:334, x : x + 400].astype(float) for x in (10, 420, 830))
    with rasterio.open(scene) as ds:
        assert (left == ds.read([3, 2, 1]).transpose(1, 2, 0)).all()  # the bands of the run
    mixed = np.where((codes == NODATA)[..., None], left, 0.75 * left + 0.25 * middle)
    assert np.abs(right - mixed).max() <= 0.5


def test_another_scene_is_refused(made, codes, write_raster, tmp_path):
    _, mask = made(codes)
    whole = np.ones((3, 300, 400), np.uint8)
    for name, other, place in (
        ("size", whole[:, :30, :40], {}),
        ("place", whole, {"transform": from_origin(0, 0, 1, 1)}),
        ("neighbour", whole, {"transform": from_origin(356000, 5644980, 0.5, 0.5)}),
    ):
        path = write_raster(f"{name}.tif", other, **place)
        with pytest.raises(UsageError, match="name the scene that it was made of"):
            draw(mask, tmp_path / "x.png", scene=path)


# the page


def test_the_page_names_nothing_on_the_network_and_lets_no_other_script_run(made, codes, tmp_path):
    scene, mask = made(np.minimum(codes, 6), ODD, run=RUN | {"classes": ["</script><script>alert(1)</script>"]})
    draw(mask, tmp_path / "x.html", scene=scene)
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.elements.count("script") == 2
    assert page.links == []
    assert "onerror" not in re.sub("&[a-z#0-9]+;", "", re.findall("<img[^>]*>", text)[0])
    assert re.search("default-src 'none'.*script-src 'sha256-", text)
    assert page.names == list(ODD)


def test_secrets_of_addresses_do_not_reach_it(made, codes, tmp_path):
    secret = "https://me:pass@host/scene.tif?token=abc123"
    scene, mask = made(codes, run=RUN | {"scene": secret})
    for kind in ("png", "html"):
        draw(mask, tmp_path / f"x.{kind}", scene=scene)
        data = (tmp_path / f"x.{kind}").read_bytes()
        assert b"abc123" not in data
        assert b"pass@" not in data


# the command


@pytest.mark.slow
def test_the_command_writes_pictures_and_pages_and_prints_their_paths(made, codes, tmp_path, segearth, monkeypatch):
    scene, mask = made(codes)
    monkeypatch.chdir(tmp_path)
    assert segearth("preview", mask).out == "m.preview.png\n"
    assert segearth("preview", mask, "-f", "html", "-s", ".").out == "m.preview.html\n"  # by the name in the mask
    assert segearth("preview", mask, "-s", scene, "-o", "x.html").out == "x.html\n"
    again = segearth("preview", mask, "-o", "x.html")
    assert (again.code, len(again.lines)) == (2, 1)
    assert segearth("preview", mask, "-o", "x.html", "--overwrite").code == 0
    for wrong in (("-o", "x.jpg"), ("-o", "x.png", "-f", "html"), ("-s", "absent.tif"), ("--size", "9")):
        done = segearth("preview", mask, "--overwrite", *wrong)
        assert (done.code in (1, 2), len(done.lines)) == (True, 1), done.err


def test_a_picture_is_no_scene_and_no_mask(made, codes, tmp_path, segearth, monkeypatch):
    made(codes)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scene.tif").unlink()
    assert segearth("preview", "m.tif").code == 0
    done = segearth("vectorize", ".", "-q")
    assert (done.code, done.out) == (0, "m.gpkg\n"), done.err
    assert "written by segearth itself" in segearth("predict", "m.preview.png", "-c", "water").err


# what it takes

SPARSE = """
import resource, sys
import numpy as np, rasterio
from pathlib import Path
from segearth_cli.maps import draw
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = int(open("/proc/self/io").read().split("rchar: ")[1].split()[0])
for kind in ("png", "html"):
    draw(sys.argv[1], Path(sys.argv[2]) / f"x.{kind}")
read = int(open("/proc/self/io").read().split("rchar: ")[1].split()[0]) - before
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) // 1024, read // 1024)
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="counts what Linux tells")
def test_a_mask_of_100_000_px_is_shown_by_its_overviews(tmp_path):
    """A hundred megabytes of pixels in a corner: what is read and held stays far below them and the 10 gigapixels."""
    side, block = 100_000, 8192
    path = tmp_path / "large.tif"
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": "uint8", "nodata": 255,
               "tiled": True, "blockxsize": 512, "blockysize": 512, "sparse_ok": True, "crs": "EPSG:32632",
               "transform": from_origin(300_000, 5_600_000, 0.5, 0.5), "BIGTIFF": "YES"}  # fmt: skip
    with rasterio.open(path, "w", **profile) as ds:
        pixels = np.random.default_rng(0).integers(0, 3, (block, block)).astype(np.uint8)
        ds.write(pixels, 1, window=rasterio.windows.Window(0, 0, block, block))
    with rasterio.Env(SPARSE_OK_OVERVIEW="TRUE"), rasterio.open(path, "r+") as ds:
        ds.build_overviews([2**i for i in range(1, 9)], rasterio.enums.Resampling.nearest)
    words = [sys.executable, "-c", SPARSE, path, tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    megabytes, kilobytes = map(int, done.stdout.split())
    assert megabytes < 400  # matplotlib and two pictures
    assert kilobytes < 60_000  # of 67 MB of pixels; overviews, and the modules of matplotlib


# along with a mask


@pytest.mark.parametrize("words", [("--preview",), ("--preview", "png"), ("--preview=png",)], ids=" ".join)
def test_predict_draws_along(write_raster, noise, segearth, model_dir, tmp_path, words):
    scene = write_raster("scene.tif", noise(3, 80, 90))
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu", "-q", "-c", "a & b,roof")
    done = segearth("predict", *words, scene, *model, "-o", tmp_path / "a.mask.tif")
    assert (done.code, done.out) == (0, f"{tmp_path / 'a.mask.tif'}\n"), done.err
    alone = tmp_path / "alone.png"
    assert segearth("preview", tmp_path / "a.mask.tif", "-s", scene, "-o", alone).code == 0
    assert (tmp_path / "a.preview.png").read_bytes() == alone.read_bytes()


def test_long_runs_draw_along_and_draw_what_is_missing_when_they_go_on(
    write_raster, noise, segearth, model_dir, tmp_path
):
    scene = write_raster("scene.tif", noise(3, 80, 90))
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu", "-q", "-c", "a & b,roof")
    command = ("predict", scene, *model, "-o", tmp_path / "a.tif", "--preview", "html", "--work", tmp_path / "work")
    (tmp_path / "a.preview.html").write_text("mine")
    assert segearth(*command).code == 2
    (tmp_path / "a.preview.html").unlink()
    assert segearth(*command).code == 0
    (tmp_path / "a.preview.html").unlink()
    done = segearth(*command, "--resume", "--json")
    assert json.loads(done.out)["skipped"]
    assert json.loads(done.out)["preview"] == str(tmp_path / "a.preview.html")
    assert Page((tmp_path / "a.preview.html").read_text(encoding="utf-8")).names == ["background", "a & b", "roof"]


@pytest.mark.parametrize("words", [(), ("--preview",), ("--preview", "x.tif"), ("-q", "--preview")], ids=" ".join)
def test_a_flag_that_may_stand_alone_does(segearth, words):
    done = segearth("predict", *words)
    assert (done.code, len(done.lines)) == (2, 1), done.err  # no scene, or no classes
