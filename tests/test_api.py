"""The public functions: the same masks as the command line, lazily imported, unknown words refused."""

import gc
import inspect
import json
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin
from safetensors.numpy import load_file
from shell import python

import segearth_cli as segearth

PLACE = {"crs": "EPSG:32632", "transform": from_origin(356000, 5645000, 0.5, 0.5)}
WORDS = "water|river,roof,tree"
GREY = np.zeros((9, 9), np.uint8)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tiny(model_dir):
    """Options of the tiny model on the CPU, as keywords."""
    return {"model": f"local-dir:{model_dir}", "upsampler": "none", "device": "cpu", "precision": "fp32", "quiet": True}


@pytest.fixture
def scene(write_raster, noise):
    return write_raster("scene.tif", noise(3, 100, 90))


@pytest.fixture
def shell_line(request):
    """The command line in this process; conftest calls it `segearth`, as the package is called here."""
    return request.getfixturevalue("segearth")


def flags(options):
    """Keywords as a shell would say them."""
    for name, value in options.items():
        if value is True:
            yield f"--{name.replace('_', '-')}"
        elif value is False:
            yield f"--no-{name.replace('_', '-')}"
        else:
            yield from (f"--{name.replace('_', '-')}", value)


# shell and notebook


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threshold": 0.3, "background": "roof"},
        {"scale": 1},  # an int where the flag is read as a float
        {"gsd": 1, "antialias": False, "blend": "taper", "stride": 20},
        {"bands": "3,2,1", "stretch": "0,200", "global_bias": 0},
        {"nodata": 7},
    ],
    ids=str,
)
def test_a_notebook_makes_the_mask_that_a_shell_makes(shell_line, scene, tiny, options):
    assert shell_line("predict", scene, "-c", WORDS, "-o", "shell.tif", *flags(tiny | options)).code == 0
    mask = segearth.predict(scene, WORDS, **tiny, **options)
    assert mask.path.read_bytes() == Path("shell.tif").read_bytes()
    mask.save("notebook.tif")
    for name in ("{}.tif", "{}.tif.aux.xml", "{}.qml"):
        assert Path(name.format("notebook")).read_bytes() == Path(name.format("shell")).read_bytes()
    with rasterio.open("shell.tif") as ds:
        assert (mask.array == ds.read(1)).all()
        assert (mask.transform, mask.crs) == (ds.transform, ds.crs)
        assert dict(mask.run) == json.loads(ds.tags()["SEGEARTH_RUN"])


@pytest.mark.slow
def test_the_models_own_advice_counts_in_a_notebook_too(scene):
    mask = segearth.predict(scene, "water,building", model="mini", upsampler="none", device="cpu", quiet=True)
    assert (mask.run["blend"], mask.run["global_bias"]) == ("taper", 0.5)


@pytest.mark.slow
def test_a_preset_counts_as_in_a_shell(shell_line, scene, tiny):
    shell_line("predict", scene, "--preset", "loveda", "-o", "shell.tif", *flags(tiny))
    mask = segearth.predict(scene, preset="loveda", **tiny)
    assert mask.path.read_bytes() == Path("shell.tif").read_bytes()


# classes and arrays


def test_classes_are_words_a_list_a_file_or_a_class_set(scene, tiny, tmp_path):
    (tmp_path / "classes.txt").write_text("water,river\nroof\ntree\n")
    masks = [
        segearth.predict(scene, given, **tiny)
        for given in (WORDS, ["water|river", "roof", "tree"], tmp_path / "classes.txt")
    ]
    masks.append(segearth.predict(scene, masks[0].classes, **tiny))
    assert isinstance(masks[0].classes, segearth.ClassSet)
    assert len({mask.path.read_bytes() for mask in masks}) == 1


def test_an_array_is_a_scene(scene, tiny):
    with rasterio.open(scene) as ds:
        pixels = ds.read()
    mask = segearth.predict(scene, WORDS, **tiny)
    for array in (pixels, np.moveaxis(pixels, 0, 2)):
        made = segearth.predict(array, WORDS, **PLACE, **tiny)
        assert (made.array == mask.array).all()
        assert (made.transform, made.crs) == (mask.transform, mask.crs)


def test_an_array_of_16_bits_with_a_value_without_data(tiny, noise):
    pixels = noise(3, 70, 80).astype(np.uint16) * 40 + 1
    pixels[:, :20] = 0
    mask = segearth.predict(pixels, WORDS, nodata=0, **tiny)
    assert mask.array.dtype == np.uint8
    assert ((mask.array == 255) == (np.arange(70)[:, None] < 20)).all()


@pytest.mark.parametrize("told_by", ["nodata", "mask", "each band"])
@pytest.mark.parametrize("last", [False, True])
def test_a_masked_array_has_no_data_where_its_file_has_none(write_raster, noise, tiny, told_by, last):
    pixels, hole = noise(3, 70, 80), np.zeros((70, 80), bool)
    pixels[pixels == 7] = 8
    hole[10:30, 20:50] = True
    if told_by == "mask":
        path = write_raster("m.tif", pixels, mask=~hole)
    else:
        pixels[:, hole], pixels[0, 40:] = 7, 7  # the last rows in one band alone
        path = write_raster("m.tif", pixels, nodata=7)
    with rasterio.open(path) as ds:
        array = ds.read(masked=True)
    if told_by == "each band":
        array = np.ma.masked_array(array.data, array.mask)
        array[:, hole] = np.ma.masked
        array.data[:, hole] = 201  # what lies below a mask is nobody's business
    mask = segearth.predict(np.moveaxis(array, 0, 2) if last else array, WORDS, **tiny)
    assert ((mask.array == 255) == hole).all()
    if told_by != "each band":
        assert (mask.array == segearth.predict(path, WORDS, **tiny).array).all()


@pytest.mark.parametrize(("given", "as_if"), [("float16", "float32"), ("bool", "uint8"), (">u2", "uint16")])
def test_an_array_of_a_type_that_rasters_lack_is_read_by_its_values(tiny, noise, given, as_if):
    pixels = noise(3, 64, 64).astype(given)
    made, other = (segearth.predict(array, WORDS, **tiny).array for array in (pixels, pixels.astype(as_if)))
    assert (made == other).all()


@pytest.mark.parametrize("code", [32632, "32632", np.int64(32632), "EPSG:32632"])
def test_a_crs_may_be_the_number_of_one(tiny, noise, code):
    assert segearth.predict(noise(3, 64, 64), WORDS, crs=code, **tiny).crs.to_epsg() == 32632


@pytest.mark.parametrize("kind", [tuple, np.array, lambda six: Affine(*six), lambda six: [*Affine(*six)]])
def test_an_array_lies_where_its_transform_says(tiny, noise, kind):
    place = (0.5, 0, 400_000, 0, -0.5, 5_000_000)
    assert segearth.predict(noise(3, 64, 64), WORDS, transform=kind(place), **tiny).transform == Affine(*place)


def test_confidence_and_scores_are_probabilities_where_asked_for(scene, tiny):
    mask = segearth.predict(scene, WORDS, confidence=True, scores=True, **tiny)
    assert mask.scores.shape == (4, 100, 90)
    assert (mask.scores.argmax(axis=0) == mask.array).all()
    assert np.abs(mask.confidence - mask.scores.max(axis=0)).max() < 0.5 / 254 + 1e-6
    plain = segearth.predict(scene, WORDS, **tiny)
    assert (plain.confidence, plain.scores) == (None, None)


# what comes after


def test_polygons_of_a_mask_are_those_of_the_command(shell_line, scene, tiny):
    mask = segearth.predict(scene, WORDS, background="none", **tiny)
    mask.save("mask.tif")
    out = segearth.vectorize(mask, "notebook.geojson", min_area="20px", quiet=True)
    shell_line("vectorize", "mask.tif", "-o", "shell.geojson", "--min-area", "20px")
    ours, theirs = json.loads(out.read_text()), json.loads(Path("shell.geojson").read_text())
    assert ours["features"] == theirs["features"]
    assert ours["features"]


def test_polygons_come_as_a_geodataframe(scene, tiny):
    pytest.importorskip("geopandas")
    mask = segearth.predict(scene, WORDS, background="none", **tiny)
    code = int(np.bincount(mask.array.ravel()).argmax())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "More than one layer")  # the file holds the style too
        frame = mask.to_geodataframe(classes=(mask.classes.names[code],))
    assert set(frame["class"]) == {mask.classes.names[code]}
    assert frame.crs == mask.crs
    assert frame.area.sum() == pytest.approx((mask.array == code).sum() * 0.25)


def test_polygons_of_a_mask_with_confidence_tell_it(shell_line, scene, tiny):
    mask = segearth.predict(scene, WORDS, background="none", confidence=True, **tiny)
    out = segearth.vectorize(mask, "notebook.geojson", quiet=True)
    words = ("--background", "none", "-m", tiny["model"], "--upsampler", "none", "-d", "cpu", "--precision", "fp32")
    shell_line(
        "predict", scene, "-c", WORDS, *words, "-o", "m.tif", "--confidence", "s.tif", "--vector", "shell.geojson"
    )
    ours, theirs = (json.loads(Path(path).read_text())["features"] for path in (out, "shell.geojson"))
    assert [one["properties"]["confidence"] for one in ours] == [one["properties"]["confidence"] for one in theirs]


def test_codes_of_a_mask_are_not_changed_where_its_file_would_not_know(scene, tiny):
    mask = segearth.predict(scene, WORDS, **tiny)
    with pytest.raises(ValueError, match="read-only"):
        mask.array[0, 0] = 1
    with pytest.raises(segearth.SegEarthError, match="^path=m.png: what is written is a GeoTIFF"):
        mask.save("m.png")


def test_a_number_is_what_it_is_on_the_command_line(scene, tiny):
    tiled = segearth.predict(scene, WORDS, tile=64, **tiny)
    assert np.array_equal(tiled.array, segearth.predict(scene, WORDS, tile="64", **tiny).array)


def test_a_mask_is_drawn_with_a_legend_of_the_classes_that_are_there(scene, tiny):
    import matplotlib

    matplotlib.use("agg")
    mask = segearth.predict(scene, WORDS, background="none", **tiny)
    axes = mask.plot()
    names = [mask.classes.names[code] for code in np.unique(mask.array)]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == names


@pytest.mark.slow
def test_figures_are_those_of_the_command(shell_line, scene, tiny):
    mask = segearth.predict(scene, WORDS, background="none", **tiny)
    mask.save("mask.tif")
    label = segearth.predict(scene, WORDS, background="none", attention="vanilla", **tiny).save("label.tif")
    found = segearth.evaluate(mask, label, ignore=[2])
    told = json.loads(shell_line("evaluate", "mask.tif", "label.tif", "-c", WORDS, "--ignore", 2, "--json", "-").out)
    assert found == told == segearth.evaluate(mask, label, ignore=2) == segearth.evaluate(mask, label, ignore="2,2")


@pytest.mark.slow
def test_an_upsampler_is_trained_as_by_the_command(shell_line, scene, model_dir):
    recipe = {"steps": 1, "batch_size": 1, "crop": 64, "jitters": 1, "held_out": 1, "workers": 0}
    out = segearth.train_upsampler(
        scene, "a.safetensors", model=f"local-dir:{model_dir}", device="cpu", quiet=True, **recipe
    )
    words = ("-m", f"local-dir:{model_dir}", "-d", "cpu", "-o", "b.safetensors", *flags(recipe))
    assert shell_line("train-upsampler", scene, *words).code == 0
    ours, theirs = load_file(out), load_file("b.safetensors")
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


def test_a_scene_shows_how_it_is_read(scene):
    opened = segearth.open_scene(scene, bands=(3, 2, 1))
    assert (opened.bands, opened.height, opened.width) == ((3, 2, 1), 100, 90)
    assert repr(opened) == f"<Scene {scene}: 90 x 100 px, bands 3, 2, 1, EPSG:32632>"
    opened.close()


# what is refused


@pytest.mark.parametrize(
    ("act", "line"),
    [
        (lambda scene: segearth.predict(scene, WORDS, treshold=0.3), "treshold: unknown; did you mean threshold?"),
        (lambda scene: segearth.predict(scene, WORDS, blend="best"), "^blend=best: choose one of mean, taper"),
        (lambda scene: segearth.predict(scene, WORDS, gsd=-1), "^gsd=-1: need a number above 0$"),
        (lambda scene: segearth.predict(scene, WORDS, gsd=1, scale=2), "^scale= and gsd= together"),
        (lambda scene: segearth.predict(scene, WORDS, batch_size=0), "^batch_size=0: need a whole number from 1$"),
        (lambda scene: segearth.open_scene(scene, stretch="bright"), "^stretch=bright: need auto"),
        (lambda scene: segearth.open_scene(scene, bands="9"), "bands="),
        (lambda scene: segearth.vectorize(scene, "x.gpkg", min_area="small"), "^min_area=small: not a size"),
        (lambda scene: segearth.vectorize(scene, "x.gpkg", min_area=50), "^min_area=50: not a size; .* min_area=200px"),
        (lambda scene: segearth.vectorize(scene, "x.gpkg", min_area=[5]), "^min_area=\\[5\\]: need text"),
        (lambda scene: segearth.vectorize(scene, "x.gpkg", rows=0), "rows"),
        (lambda scene: segearth.train_upsampler(scene, "x.safetensors", steps=0), "^steps=0: need a whole number"),
        (lambda scene: segearth.train_upsampler(scene, "up.txt"), "^out=up.txt: need a name that ends in .safetensors"),
        (lambda scene: segearth.evaluate(scene, scene, "a,b", label_map={1: 9}), "^label_map=1=9: need LABEL=CLASS"),
        (lambda scene: segearth.evaluate(scene, scene, "a,b", ignore=["x"]), "^ignore=x: need a whole number"),
        (lambda scene: segearth.predict(scene, WORDS, crs="EPSG:4326"), "transform and crs place an array"),
        (lambda _: segearth.predict(np.zeros((2, 2, 2, 2)), WORDS), "an array of shape .2, 2, 2, 2.: need"),
        (lambda _: segearth.predict(np.zeros((3, 9, 9), object), WORDS), "an array of object"),
        (lambda scene: segearth.predict(scene, {"water", "roof"}), "need words by comma, or a list of them, in order"),
        (lambda scene: segearth.predict(scene, 5), "^classes of type int: need words by comma"),
        (lambda scene: segearth.predict(scene), "name the classes with one of"),
        (lambda _: segearth.predict(GREY, WORDS, transform=(9, 1, 0, 9, 0, -1)), "GDAL's order; give Affine.from_gdal"),
        (lambda _: segearth.predict(GREY, WORDS, transform=(9, 1, 0, 9, 0, 1)), "GDAL's order; give Affine.from_gdal"),
        (lambda _: segearth.predict(GREY, WORDS, transform=(1, 2, 3)), "^transform=.*: need an Affine, or its six"),
        (lambda _: segearth.predict(GREY, WORDS, transform=(0,) * 6), "places no pixel"),
        (lambda _: segearth.predict(GREY, WORDS, nodata="nothing"), "^nodata=nothing: need a number, nan or none"),
        (lambda _: segearth.predict(GREY, WORDS, crs="UTM 32"), "^crs='UTM 32': no CRS"),
        (lambda _: segearth.predict(np.zeros((4, 9, 9)), WORDS), "^the array: 4 bands.* bands=RED,GREEN,BLUE, or"),
        (lambda _: segearth.vectorize(GREY, "x.gpkg"), "^a mask of type ndarray: need a Mask"),
        (lambda scene: segearth.evaluate(scene, GREY, "a,b"), "^a label of type ndarray: need a Mask"),
        (lambda scene: segearth.predict(scene, WORDS, score=True), "did you mean scores?"),
        (lambda scene: segearth.calibrate(scene, "l.gpkg", "c", WORDS, suggest=5), "suggest: unknown"),
        (lambda _: segearth.predict(GREY.tolist(), WORDS), "type list: need a path, or an array"),
        (lambda _: segearth.predict(None, WORDS), "type NoneType: need a path, or an array"),
        (lambda scene: segearth.predict(scene, ["water", "a,b"]), "a class a text, synonyms by bars, not 'a,b'"),
        (lambda scene: segearth.predict(scene, ["water", 2]), "a class a text, synonyms by bars, not 2"),
        (lambda _: segearth.predict("absent.tif", WORDS), "absent.tif: no such file"),
        (lambda scene: segearth.vectorize(scene, scene), "is read by this command"),
        (lambda scene: segearth.vectorize(scene, "x.gpkg", simplfy="1px"), "simplfy: unknown; did you mean simplify?"),
        (lambda scene: segearth.train_upsampler(scene, "x.safetensors", step=3), "did you mean steps?"),
        (lambda scene: segearth.open_scene(scene, band=1), "did you mean bands?"),
        (lambda _: segearth.evaluate(["a.tif", "b.tif"], "a.tif", "x"), "2 masks and 1 labels"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_line(scene, act, line):
    with pytest.raises(segearth.SegEarthError, match=line) as caught:
        act(scene)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("asked", "deep"), [("0", False), ("1", True)])
def test_an_error_points_at_the_call_unless_more_is_asked_for(monkeypatch, asked, deep):
    monkeypatch.setenv("SEGEARTH_TRACEBACK", asked)
    with pytest.raises(segearth.SegEarthError) as caught:
        segearth.open_scene("absent.tif")
    inside = [frame for frame in traceback.extract_tb(caught.tb) if "segearth_cli" in frame.filename]
    assert (len(inside) > 1) == deep


@pytest.mark.parametrize("name", ["m.png", "m.jpg", "m.gpkg", "", "."])
def test_a_mask_is_saved_as_what_its_name_says_or_not_at_all(scene, tiny, tmp_path, name):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(segearth.SegEarthError, match="GeoTIFF|is a folder"):
        segearth.predict(scene, WORDS, **tiny).save(name)
    assert sorted(tmp_path.iterdir()) == before


def test_a_mask_is_a_label_too(scene, tiny):
    mask = segearth.predict(scene, WORDS, **tiny)
    assert segearth.evaluate(mask, mask)["accuracy"] == 1


def test_an_existing_file_is_kept_unless_told(scene, tiny, tmp_path):
    mask = segearth.predict(scene, WORDS, **tiny)
    (tmp_path / "there.tif").write_text("precious")
    with pytest.raises(segearth.SegEarthError, match="exists already"):
        mask.save("there.tif")
    with pytest.raises(segearth.SegEarthError, match="replace it with overwrite=True"):
        mask.save("there.tif")
    assert (tmp_path / "there.tif").read_text() == "precious"
    assert mask.save("there.tif", overwrite=True).read_bytes() == mask.path.read_bytes()


def test_the_files_of_a_mask_go_with_it_and_a_failed_one_leaves_none(scene, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    mask = segearth.predict(scene, WORDS, **tiny)
    assert mask.path.is_file()
    del mask
    gc.collect()
    with pytest.raises(segearth.SegEarthError):
        segearth.predict("absent.tif", WORDS, **tiny)
    assert list((tmp_path / "temporary").iterdir()) == []


# the import


@pytest.mark.slow
def test_the_import_loads_nothing_and_leaves_other_libraries_alone():
    done = python(
        "import sys, warnings; import segearth_cli; dir(segearth_cli); "
        "print(sorted({'torch', 'rasterio', 'numpy', 'typer'} & sys.modules.keys())); "
        "from segearth_cli import predict, ClassSet; import rasterio; "
        "print('torch' in sys.modules, [f for f in warnings.filters if 'Georef' in f[2].__name__])"
    )
    assert done.stdout.split("\n")[:2] == ["[]", "False []"]


def test_warnings_of_rasterio_stay_as_they_were(scene, tiny, write_raster, noise):
    placeless = write_raster("placeless.tif", noise(3, 40, 40), crs=None, transform=None)
    segearth.predict(placeless, WORDS, **tiny)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rasterio.open(placeless).close()
    assert [one for one in caught if one.category.__name__ == "NotGeoreferencedWarning"]


FUNCTIONS = [getattr(segearth, name) for name in segearth.__all__ if name.islower() and not name.startswith("_")]


@pytest.mark.parametrize(
    "function", [*FUNCTIONS, segearth.Mask.to_geodataframe], ids=lambda function: function.__name__
)
def test_help_tells_every_option_and_notebooks_complete_them(function):
    explicit = inspect.signature(inspect.unwrap(function)).parameters
    shown = inspect.signature(function).parameters
    assert all(one.kind is not one.VAR_KEYWORD for one in shown.values())
    told = [
        line.split(":")[0].strip() for line in function.__doc__.splitlines() if line.startswith("    ") and ":" in line
    ]
    assert shown.keys() - explicit.keys() <= set(told)
    with pytest.raises(segearth.SegEarthError, match="option no_such: unknown; known are") as caught:
        function(*[None] * sum(one.default is one.empty for one in shown.values()), no_such=1)
    assert set(str(caught.value).partition("known are ")[2].split(", ")) == shown.keys() - {"self"}


def test_what_a_function_does_not_take_is_not_shown():
    assert {"threshold", "aoi", "model"} <= inspect.signature(segearth.predict).parameters.keys()
    assert not {"out", "work", "json", "overwrite"} & inspect.signature(segearth.predict).parameters.keys()


def test_a_mask_and_lines_of_it_fit_a_notebook(tiny, capsys):
    mask = segearth.predict(np.zeros((3, 20, 30), np.uint8), WORDS, **tiny | {"quiet": False})
    assert repr(mask) == "<Mask of 30 x 20 px: background, water, roof, tree>"
    assert {mask: 1}[mask] == 1
    assert "segearth: the array: no CRS, the mask will have none either\n" in capsys.readouterr().err


def test_what_is_the_same_for_one_scene_after_another_is_told_once(tiny, capsys):
    told = []
    for name in ("lava", "lava", "magma"):
        segearth.predict(np.zeros((3, 20, 30), np.uint8), "river", background=name, **tiny | {"quiet": False})
        told.append([line for line in capsys.readouterr().err.splitlines() if "code 0" in line])
    assert ["code 0, lava" in line for line in told[0]] == [True]
    assert told[1] == []
    assert ["code 0, magma" in line for line in told[2]] == [True]


def test_every_public_name_is_there():
    assert [name for name in segearth.__all__ if getattr(segearth, name, None) is None] == []
    with pytest.raises(AttributeError, match="no attribute 'vectorise'"):
        _ = segearth.vectorise
