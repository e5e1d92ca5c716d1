"""`segearth calibrate`: labels in, a calibration out, and what `predict` makes of it."""

import json
import random
from dataclasses import replace
from pathlib import Path

import fiona
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
import tiny
import torch
from noise import save_scene
from rasterio.transform import from_origin
from safetensors import safe_open
from tiers import every

import segearth_cli as segearth_api
from segearth_cli import classes as class_lists
from segearth_cli.calibration.labels import Labels, placed
from segearth_cli.calibration.learning import MARGIN
from segearth_cli.prediction import (
    Predictor,
    RunOptions,
    by_tile,
    prepared,
    read_calibration,
    resolve_settings,
    sampled_logits,
    work_for,
    write_calibration,
)
from segearth_cli.raster import open_scene
from segearth_cli.weights import assemble

CLASSES = "water|river,roof,tree"
CRS = "EPSG:32633"
LEFT, TOP, SIDE = 400_000.1, 5_000_000.3, 0.3  # of `save_scene`


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return save_scene(tmp_path_factory.mktemp("scene") / "scene.tif", 170, 200, nodata=0, holes=[(0, 0, 20, 200)])


@pytest.fixture
def model(model_dir):
    return ("-m", f"local-dir:{model_dir}", "-d", "cpu", "--precision", "fp32", "--upsampler", "none")


@pytest.fixture
def run(segearth, model):
    """Runs a command with the tiny model; a failure fails the test unless it is expected."""

    def run(command, *arguments, code=0):
        done = segearth(command, *arguments, *model)
        assert done.code == code, done.err
        return done

    return run


def at(row, col):
    """Map coordinates of a pixel's centre."""
    return LEFT + (col + 0.5) * SIDE, TOP - (row + 0.5) * SIDE


def clicks(count=18, seed=0, *, low=25):
    """Points with classes: which pixel, and what it is said to be, by the brightness of its neighbourhood."""
    rng = np.random.default_rng(seed)
    rows, cols = rng.integers(low, 169, count), rng.integers(0, 200, count)
    return [((int(r), int(c)), ("water", "roof", "tree")[i % 3]) for i, (r, c) in enumerate(zip(rows, cols))]  # noqa: B905


def save(path, features, *, crs=CRS, driver="GPKG", field="class", kind="str", layer=None):
    """Features, (geometry, value), as a vector file."""
    schema = {"geometry": "Unknown", "properties": {field: kind}}
    options = {} if layer is None else {"layer": layer}
    with fiona.open(path, "w", driver=driver, crs=crs, schema=schema, **options) as sink:
        for geometry, value in features:
            sink.write({"geometry": shapely.geometry.mapping(geometry), "properties": {field: value}})
    return path


def points(labels):
    return [(shapely.Point(at(*place)), name) for place, name in labels]


@pytest.fixture
def labels(tmp_path):
    return save(tmp_path / "clicks.gpkg", points(clicks()))


@pytest.fixture(scope="module")
def made(tmp_path_factory, scene, model_dir):
    """A calibration of the scene by the clicks, made once."""
    folder = tmp_path_factory.mktemp("made")
    options = {"model": f"local-dir:{model_dir}", "device": "cpu", "precision": "fp32", "upsampler": "none"}
    labels, out = save(folder / "clicks.gpkg", points(clicks())), folder / "scene.calibration"
    segearth_api.calibrate(scene, labels, out, CLASSES, quiet=True, **options)
    return out


@pytest.fixture
def calibrate(run, scene):
    def made(labels, *options, out="scene.calibration", code=0):
        classes = () if any(option in ("-c", "--classes") for option in options) else ("-c", CLASSES)
        return run("calibrate", scene, "--labels", labels, "-o", out, *classes, *options, code=code)

    return made


def codes(path):
    with rasterio.open(path) as ds:
        return ds.read(1)


# what comes of it


@pytest.mark.slow
def test_it_prints_the_hold_out_of_all_three_and_says_in_words_what_it_kept(calibrate, labels):
    done = calibrate(labels)
    for word in ("text alone", "biases alone", "text + correction", "mean", "accuracy", "water", "roof", "Kept:"):
        assert word in done.out
    assert max(map(len, done.out.splitlines()[:10])) <= 80  # columns
    assert done.out.splitlines()[-1] == "scene.calibration"
    kept = read_calibration(Path("scene.calibration")).report["variants"]
    best = max(kept, key=lambda variant: kept[variant]["miou"] - MARGIN[variant])
    told = json.loads(calibrate(labels, "--json", "--overwrite").out)
    assert told["kept"] == best


@pytest.mark.slow
def test_the_same_labels_in_any_order_give_the_same_bytes(calibrate, tmp_path, made):
    shuffled = points(clicks())
    random.Random(1).shuffle(shuffled)
    calibrate(save(tmp_path / "other.gpkg", shuffled), out="other.calibration")
    assert made.read_bytes() == (tmp_path / "other.calibration").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize(
    ("driver", "suffix"), every(2, [("GPKG", "gpkg"), ("FlatGeobuf", "fgb"), ("ESRI Shapefile", "shp")])
)
def test_labels_in_any_crs_and_format_give_the_same_bytes(calibrate, tmp_path, made, crs, driver, suffix):
    to = pyproj.Transformer.from_crs(CRS, crs, always_xy=True).transform
    moved = [(shapely.Point(to(point.x, point.y)), name) for point, name in points(clicks())]
    path = save_points(tmp_path / f"moved.{suffix}", moved, crs, driver)
    calibrate(path, out="other.calibration")
    assert made.read_bytes() == (tmp_path / "other.calibration").read_bytes()


def save_points(path, features, crs, driver):
    schema = {"geometry": "Point", "properties": {"class": "str"}}
    with fiona.open(path, "w", driver=driver, crs=crs, schema=schema) as sink:
        for geometry, value in features:
            sink.write({"geometry": shapely.geometry.mapping(geometry), "properties": {"class": value}})
    return path


@pytest.mark.slow
def test_codes_and_other_fields_and_synonyms_name_classes_too(calibrate, tmp_path, made):
    numbers = {"water": 1, "roof": 2, "tree": 3}  # 0 is the background that is put first
    coded = [(shape, numbers[name]) for shape, name in points(clicks())]
    calibrate(save(tmp_path / "a.gpkg", coded, field="Kind", kind="int"), "--field", "kind", out="a.calibration")
    spoken = [(shape, "RIVER" if name == "water" else name) for shape, name in points(clicks())]
    calibrate(save(tmp_path / "b.gpkg", spoken), out="b.calibration")
    expected = made.read_bytes()
    assert (tmp_path / "a.calibration").read_bytes() == expected
    assert (tmp_path / "b.calibration").read_bytes() == expected


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "unlabelled"), [("uint8", 9), ("float32", np.nan)])
def test_a_raster_of_codes_is_as_good_as_points(calibrate, tmp_path, scene, made, dtype, unlabelled):
    with rasterio.open(scene) as ds:
        profile = {"driver": "GTiff", "crs": ds.crs, "transform": ds.transform, "dtype": dtype, "count": 1}
    values = np.full((170, 200), unlabelled, dtype)
    for place, name in clicks():
        values[place] = ("water", "roof", "tree").index(name) + 1
    with rasterio.open("labels.tif", "w", height=170, width=200, **profile) as ds:
        ds.write(values, 1)
    done = calibrate("labels.tif", "--ignore", "9", out="other.calibration")
    assert "left out" not in done.err
    assert made.read_bytes() == (tmp_path / "other.calibration").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--ignore", "8,9"), ("--ignore", "8", "--ignore", "9"), ("--ignore", "9,8")])
def test_codes_to_leave_out_are_named_as_for_evaluate_and_of_features_too(calibrate, tmp_path, made, words):
    numbers = {"water": "1", "roof": "2", "tree": "3"}
    coded = [(shape, numbers[name]) for shape, name in points(clicks())]
    odd = [(shapely.Point(at(50 + 2 * i, 50)), str(code)) for i, code in enumerate((8, 9, 9))]
    done = calibrate(save(tmp_path / "odd.gpkg", coded + odd), *words, out="odd.calibration")
    assert "left out" not in done.err
    assert (tmp_path / "odd.calibration").read_bytes() == made.read_bytes()


@pytest.mark.slow
def test_what_gives_no_label_is_counted_and_told(calibrate, tmp_path):
    far = [(shapely.Point(LEFT - 50, TOP - 20), "roof")] * 2
    empty = [(shapely.Point(at(5, 50)), "tree")]
    odd = [(shapely.Point(at(50, 50)), "lava"), (shapely.Point(at(60, 50)), None)]
    done = calibrate(save(tmp_path / "mixed.gpkg", points(clicks()) + far + empty + odd))
    assert "2 labels outside of the scene: left out" in done.err
    assert "1 label without data under them: left out" in done.err
    assert "1 label of the unknown class lava: left out" in done.err
    assert "1 label with an empty field: left out" in done.err


@pytest.mark.slow
def test_a_field_of_other_things_is_told_in_a_few_lines(run, tmp_path, scene):
    others = [(shapely.Point(at(50, 50)), f"house {number} " + "x" * number) for number in range(500)]
    path = save(tmp_path / "odd.gpkg", others)
    done = run("calibrate", scene, "--labels", path, "-c", CLASSES, "--background", "none", code=2)
    assert len(done.lines) < 12
    assert "492 labels for 492 other reasons" in done.err
    save(path, others + points(clicks()))
    done = run("calibrate", scene, "--labels", path, "-c", CLASSES, "--background", "none")
    assert len(done.lines) < 12
    assert all(len(line) < 200 for line in done.lines)


@pytest.mark.slow
def test_points_on_the_outer_border_are_of_the_last_pixel_and_beyond_it_outside(calibrate, tmp_path):
    right, bottom = LEFT + 200 * SIDE, TOP - 170 * SIDE
    inner = [((100, 199), "roof"), ((169, 50), "tree")]
    calibrate(save(tmp_path / "a.gpkg", points([*clicks(), *inner])))
    outer = [(shapely.Point(right, at(100, 0)[1]), "roof"), (shapely.Point(at(0, 50)[0], bottom), "tree")]
    done = calibrate(save(tmp_path / "b.gpkg", points(clicks()) + outer), out="b.calibration")
    assert "outside" not in done.err
    assert (tmp_path / "scene.calibration").read_bytes() == (tmp_path / "b.calibration").read_bytes()
    beyond = [(shapely.Point(right + 0.01, at(100, 0)[1]), "roof")]
    done = calibrate(save(tmp_path / "c.gpkg", points(clicks()) + beyond), out="c.calibration")
    assert "1 label outside" in done.err


@pytest.mark.slow
def test_on_a_picture_that_lies_nowhere_labels_beyond_its_borders_give_none(run, tmp_path, scene):
    with rasterio.open(scene) as ds:
        pixels = ds.read()
    with rasterio.open(tmp_path / "s.png", "w", driver="PNG", count=3, height=170, width=200, dtype="uint8") as ds:
        ds.write(pixels)
    beyond = [(-7, 60), (300, 60), (60, -9), (60, 200)]
    inside = [(col + 0.5, row + 0.5) for (row, col), _ in clicks()]
    names = [*(name for _, name in clicks()), *["roof"] * len(beyond)]
    for name, up in {"down": 1, "up": -1}.items():
        drawn = [(shapely.Point(x, up * y), said) for (x, y), said in zip([*inside, *beyond], names, strict=True)]
        path = save(tmp_path / f"{name}.gpkg", drawn, crs=None)
        done = run("calibrate", "s.png", "--labels", path, "-c", CLASSES, "-o", f"{name}.calibration")
        assert "4 labels outside of the scene: left out" in done.err
    assert (tmp_path / "up.calibration").read_bytes() == (tmp_path / "down.calibration").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("turns", [-1, 1])
def test_labels_a_turn_of_longitude_away_give_the_same_pixels(tmp_path, turns):
    place = {"crs": "EPSG:4326", "transform": from_origin(190, 10, 1e-5, 1e-5)}
    scene = open_scene(str(save_scene(tmp_path / "far.tif", 40, 60, **place)))
    drawn = [shapely.Point(5.5, 6.5), shapely.LineString([(8, 9), (20, 30)]), shapely.box(30, 5, 50, 20)]

    def found(west):
        geometry = shapely.transform(drawn, lambda xy: xy * 1e-5 * [1, -1] + [west, 10])
        return placed(Labels(geometry, np.arange(3), scene.crs.to_wkt()), scene)

    ours, theirs = found(190), found(190 + 360 * turns)
    assert len(ours.places) > 30
    assert np.array_equal(ours.places, theirs.places)
    assert np.array_equal(ours.codes, theirs.codes)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3413"])
def test_edges_of_labels_are_straight_in_their_own_crs(tmp_path, crs):
    left, top = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(8, 62)
    place = {"crs": crs, "transform": from_origin(left, top, 1000, 1000)}
    scene = open_scene(str(save_scene(tmp_path / "wide.tif", 150, 200, **place)))
    west, south, east, north = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform_bounds(
        left + 20_000, top - 120_000, left + 180_000, top - 30_000
    )
    drawn = np.array([shapely.box(west, south, east, north), shapely.LineString([(west, south), (east, south)])])

    def found(geometry):
        return placed(Labels(geometry, np.arange(2), "EPSG:4326"), scene).places.tolist()

    assert found(drawn) == found(shapely.segmentize(drawn, (east - west) / 3000))


def test_lines_and_polygons_give_pixels_that_lie_in_them(run, tmp_path, scene):
    ring = shapely.box(*at(100, 20), *at(60, 80))
    line = shapely.LineString([at(120, 10), at(120, 180)])
    hidden = shapely.box(*at(140, 0), *at(130, 60))
    path = save(tmp_path / "drawn.gpkg", [(ring, "water"), (line, "roof"), (hidden, "tree")])
    done = run("calibrate", scene, "--labels", path, "-c", CLASSES, "--json", "--background", "none")
    told = json.loads(done.out)["labels"]
    assert set(told) == {"water", "roof", "tree"}
    assert all(1 < count <= 16 for count in told.values())


# what predict makes of it


@pytest.fixture
def mask(run, scene):
    def made(*options, name="mask.tif", code=0):
        done = run("predict", scene, "-o", name, *options, code=code)
        return codes(name) if code == 0 else done

    return made


def test_a_calibration_that_changes_nothing_gives_the_mask_of_text(made, mask, tmp_path):
    something = read_calibration(made)
    nothing = {"directions": something.directions * 0, "biases": something.biases * 0}
    write_calibration(tmp_path / "zero.calibration", replace(something, **nothing))
    zero = mask("--calibration", "zero.calibration", "--confidence", "zero.conf.tif", name="zero.tif")
    text = mask("-c", CLASSES, "--confidence", "text.conf.tif", name="text.tif")
    assert (zero == text).all()
    assert (codes("zero.conf.tif") == codes("text.conf.tif")).all()


OPTIONS = [["--tile", "96", "--stride", "20"], [], ["--scale", "0.6", "--blend", "taper"]]


@pytest.mark.slow
@pytest.mark.parametrize("options", every(3, OPTIONS), ids=" ".join)
@pytest.mark.parametrize("upsampled", [False, True], ids=["tokens", "upsampled"])
def test_the_mask_is_decided_from_what_the_calibration_computed(
    segearth, scene, labels, model_dir, upsampler_file, tmp_path, options, upsampled
):
    up = str(upsampler_file) if upsampled else "none"
    where = ("-m", f"local-dir:{model_dir}", "-d", "cpu", "--precision", "fp32", "--upsampler", up)
    done = segearth("calibrate", scene, "--labels", labels, "-o", "made.calibration", "-c", CLASSES, *where, *options)
    assert done.code == 0, done.err
    settings = resolve_settings({"calibration": tmp_path / "made.calibration", "device": "cpu", "precision": "fp32"})
    assembled, places = assemble(settings.model, settings.classes), np.array([place for place, _ in clicks()])
    made = read_calibration(tmp_path / "made.calibration")
    of_query = list(made.classes.query_class)
    text = assembled.segmenter
    channels = text.encoder.channels
    asked = Predictor(lambda: assembled, settings.classes, settings.options, RunOptions())
    with prepared(str(scene), asked) as ready:
        work = work_for(ready.plan, assembled.device, None)
        for part in by_tile(ready.scene, ready.plan, places):
            features = sampled_logits(
                part.scene, part.plan, text.asking(torch.eye(channels)), channels, part.places, work
            )
            logits = sampled_logits(
                part.scene, part.plan, ready.assembled().segmenter, len(of_query), part.places, work
            )
            vectors = text.phrases.numpy() + made.directions[of_query]
            scale = np.linalg.norm(vectors, axis=1).max()
            np.testing.assert_allclose(logits, features @ vectors.T + made.biases[of_query], atol=3e-4 * scale)


@pytest.mark.slow
def test_it_brings_classes_and_settings_along_and_the_mask_says_so(calibrate, labels, mask, tmp_path):
    calibrate(labels, "--scale", "0.8", "--threshold", "0.2")
    mask("--calibration", "scene.calibration")
    kept = read_calibration(tmp_path / "scene.calibration")
    with rasterio.open("mask.tif") as ds:
        told = json.loads(ds.tags()["SEGEARTH_RUN"])
    assert told["calibration"] == {"sha256": kept.sha256, "classes": list(kept.corrected)}
    assert (told["working_size"], told["threshold"]) == ([136, 160], 0.2)
    assert told["classes"] == [list(phrases) for phrases in kept.classes.phrases]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-c", "water,roof"), "is for the classes"),
        (("-c", CLASSES, "--background", "none"), "is for the classes"),
        (("--scale", "0.5"), "--scale"),
        (("--stretch", "0,200"), "--stretch"),
        (("--bands", "3,2,1"), "--bands"),
        (("--window", "48"), "--window"),
        (("--stride", "8"), "--stride"),
        (("--blend", "taper"), "--blend"),
        (("--attention", "clearclip"), "--attention"),
        (("--global-bias", "0.1"), "--global-bias"),
        (("--tile", "96"), "--tile"),
    ],
    ids=str,
)
def test_other_classes_and_other_settings_are_refused_in_one_line(made, mask, options, words):
    done = mask("--calibration", made, *options, code=2)
    assert len(done.lines) == 1
    assert "--calibration" in done.err
    assert words in done.err


def test_another_model_is_refused_in_one_line(made, segearth, scene, tmp_path):
    other = tiny.model(tmp_path / "other", seed=5)
    done = segearth("predict", scene, "--calibration", made, "-m", f"local-dir:{other}", "-d", "cpu", "-q")
    assert (done.code, len(done.lines)) == (2, 1)
    assert "was made with the model" in done.err


@pytest.mark.parametrize("harm", ["gone", "text", "weights", "cut", "changed"])
def test_what_is_no_calibration_is_refused_in_one_line(made, mask, model_dir, tmp_path, harm):
    path = tmp_path / "scene.calibration"
    whole = bytearray(made.read_bytes())
    path.write_bytes(whole)
    if harm == "gone":
        path.unlink()
    elif harm == "text":
        path.write_text("water")
    elif harm == "weights":
        path.write_bytes((model_dir / "open_clip_model.safetensors").read_bytes())
    elif harm == "cut":
        path.write_bytes(whole[:-10])
    else:
        whole[-1] ^= 1
        path.write_bytes(whole)
    done = mask("--calibration", path, code=2)
    assert len(done.lines) == 1
    assert "--calibration" in done.err


def test_a_scene_that_gave_no_label_is_told_once_and_one_that_did_is_not(made, run, scene, tmp_path):
    other = save_scene(tmp_path / "other.tif", 100, 100, seed=3)
    done = run("predict", scene, other, "--calibration", made, "-o", tmp_path / "masks")
    told = [line for line in done.lines if "gave no label" in line]
    assert len(told) == 1
    assert "other.tif" in told[0]


def test_shards_and_devices_compute_the_same_mask_and_hold_on_to_the_calibration(made, mask, run, scene):
    direct = mask("--calibration", made)
    shards = mask("--calibration", made, "--work", "work", "--shard-size", "512", name="shards.tif")
    assert (shards == direct).all()
    run_json = json.loads(Path("work/run.json").read_text())
    assert run_json["facts"]["calibration"]["sha256"]
    again = run(
        "predict", scene, "-c", CLASSES, "--work", "work", "--shard-size", "512", "--resume", "-o", "x.tif", code=1
    )
    assert "calibration" in again.err


@pytest.mark.slow
@pytest.mark.parametrize("work", [(), ("--work", "work", "--shard-size", "512")], ids=["at once", "in shards"])
def test_each_row_of_a_manifest_may_have_its_own_calibration(made, mask, run, scene, work):
    something = read_calibration(made)
    biases = (np.arange(len(something.biases)) == 1).astype(np.float32)
    write_calibration(Path("roof.calibration"), replace(something, biases=biases))
    rows = [f"{scene},calibrated.tif,roof.calibration", f"{scene.with_name('copy.tif')},text.tif,"]
    scene.with_name("copy.tif").write_bytes(scene.read_bytes())
    Path("scenes.csv").write_text("\n".join(["scene,out,calibration", *rows]))
    run("predict", "--manifest", "scenes.csv", *work)
    assert (codes("calibrated.tif") == mask("--calibration", "roof.calibration")).all()
    assert (codes("text.tif") == mask("-c", CLASSES, name="expected.tif")).all()
    assert not (codes("calibrated.tif") == codes("text.tif")).all()
    again = run("predict", "--manifest", "scenes.csv", *work, *(("--resume",) if work else ()))
    assert "2 scenes: 0 done, 2 skipped, 0 failed" in again.err


def test_rows_of_other_classes_than_the_first_calibration_are_refused_in_one_line(made, run, scene, tmp_path):
    other = replace(read_calibration(made), classes=class_lists.parse("pond,shed,bush,background"))
    write_calibration(tmp_path / "other.calibration", other)
    Path("scenes.csv").write_text(f"scene,out,calibration\n{scene},a.tif,{made}\n{scene},b.tif,other.calibration\n")
    refused = run("predict", "--manifest", "scenes.csv", code=2)
    assert len(refused.err.splitlines()) == 1
    assert "other classes" in refused.err
    assert not Path("a.tif").exists()


@pytest.mark.slow
def test_the_command_and_python_make_the_same_file_and_the_same_mask(calibrate, labels, made, mask, scene, tmp_path):
    calibrate(labels)
    assert (tmp_path / "scene.calibration").read_bytes() == made.read_bytes()
    expected = mask("--calibration", made)
    found = segearth_api.predict(scene, calibration=made, quiet=True, device="cpu", precision="fp32")
    assert (found.array == expected).all()


@pytest.mark.slow
def test_scenes_that_lie_apart_give_their_labels_together(run, tmp_path, scene):
    other = save_scene(tmp_path / "east.tif", 100, 100, seed=4, transform=from_origin(LEFT + 90, TOP, SIDE, SIDE))
    east = [(shapely.Point(LEFT + 90 + (col + 0.5) * SIDE, at(50, 0)[1]), "roof") for col in (10, 40, 70)]
    path = save(tmp_path / "both.gpkg", points(clicks()) + east)
    done = run("calibrate", scene, other, "--labels", path, "-c", CLASSES, "-o", "both.calibration", "--json")
    told = json.loads(done.out)
    assert told["labels"]["roof"] == 6 + 3
    assert sorted(told["scenes"]) == ["east.tif", "scene.tif"]
    run("calibrate", other, scene, "--labels", path, "-c", CLASSES, "-o", "turned.calibration")
    assert (tmp_path / "both.calibration").read_bytes() == (tmp_path / "turned.calibration").read_bytes()


# what cannot be meant


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        ([], (), "none names a class"),
        ([((50, 50), "roof"), ((60, 60), "roof")], (), "show only roof"),
        ([((50, 50), "roof"), ((60, 60), "tree")], ("--field", "klass"), "did you mean class?"),
        ([((50, 50), "roof"), ((60, 60), "tree")], ("--layer", "x"), "--layer x"),
        ([((50, 50), "roof"), ((60, 60), "tree")], ("--suggest", "5"), "--suggest and --labels"),
    ],
)
def test_labels_that_cannot_be_meant_are_told_in_one_line(calibrate, tmp_path, labels, options, words):
    path = save(tmp_path / "few.gpkg", points(labels))
    done = calibrate(path, *options, "-q", code=2)
    assert words in done.err
    assert len(done.lines) == 1
    assert not (tmp_path / "scene.calibration").exists()


def test_files_that_are_there_are_not_replaced_unasked(calibrate, labels, tmp_path):
    (tmp_path / "scene.calibration").write_text("mine")
    done = calibrate(labels, code=2)
    assert "--overwrite" in done.err
    assert (tmp_path / "scene.calibration").read_text() == "mine"


def test_labels_that_are_no_vector_file_are_told_in_one_line(calibrate, tmp_path):
    (tmp_path / "clicks.gpkg").write_text("no")
    done = calibrate(tmp_path / "clicks.gpkg", "-q", code=1)
    assert len(done.lines) == 1


# suggestions


@pytest.mark.slow
def test_suggestions_are_points_on_data_with_an_empty_field_for_all_predicted_classes(run, scene, mask):
    run("calibrate", scene, "--suggest", "12", "-c", CLASSES, "-o", "points.gpkg")
    predicted = mask("-c", CLASSES)
    with fiona.open("points.gpkg") as source:
        assert source.crs.to_epsg() == 32633
        rows = list(source)
    assert len(rows) == 12
    assert {row.properties["class"] for row in rows} == {None}
    places = []
    for row in rows:
        x, y = row.geometry["coordinates"]
        places.append((int((TOP - y) / SIDE), int((x - LEFT) / SIDE)))
    assert len(set(places)) == 12
    names = ("background", "water", "roof", "tree")
    assert [row.properties["predicted"] for row in rows] == [names[predicted[place]] for place in places]
    common = {names[code] for code, n in enumerate(np.bincount(predicted[predicted < 255], minlength=4)) if n > 500}
    assert common <= {row.properties["predicted"] for row in rows}
    apart = [np.hypot(a[0] - b[0], a[1] - b[1]) for i, a in enumerate(places) for b in places[:i]]
    assert min(apart) > 5


@pytest.mark.slow
def test_suggestions_are_the_same_each_time_and_filled_ones_calibrate(run, scene, calibrate, tmp_path):
    for name in ("a.gpkg", "b.gpkg"):
        run("calibrate", scene, "--suggest", "10", "-c", CLASSES, "-o", name)
    assert (tmp_path / "a.gpkg").read_bytes() == (tmp_path / "b.gpkg").read_bytes()
    with fiona.open("a.gpkg") as source:
        filled = [(shapely.geometry.shape(row.geometry), ("roof", "tree")[i % 2]) for i, row in enumerate(source)]
    assert "outside" not in calibrate(save(tmp_path / "filled.gpkg", filled)).err


def test_the_file_is_safetensors_that_names_model_classes_and_its_own_hash(made, tmp_path):
    with safe_open(made, framework="np") as f:
        told = json.loads(f.metadata()["segearth_calibration"])
        assert f.get_tensor("directions").shape == (4, tiny.CHANNELS)
    assert len(told["sha256"]) == 64
    assert len(told["weights"]["model_sha256"]) == 64
    assert [row["name"] for row in told["classes"]] == ["background", "water", "roof", "tree"]
