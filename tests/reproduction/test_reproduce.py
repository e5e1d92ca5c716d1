"""`segearth reproduce`: the figures are those of every tile predicted and counted by hand; a killed run goes on."""

import csv
import json
import signal

import forked
import numpy as np
import pytest
import rasterio
import sets
from tiers import every

from segearth_cli.presets import EVERY, PRESETS

QUICK = ("loveda", "potsdam converted", "massachusetts as downloaded", "wbs-si")
layouts = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sets.LAYOUTS]
)


@pytest.fixture
def model(wide_model_dir):
    return "-m", f"local-dir:{wide_model_dir}", "-d", "cpu"


@pytest.fixture
def reproduce(segearth, tmp_path, model, plain_pictures):
    """Runs the command on a set: the figures, and what it said."""

    def run(preset, root, *options, out="out", code=0):
        done = segearth("reproduce", preset, root, "-o", tmp_path / out, *model, *options)
        assert done.code == code, done.err
        path = tmp_path / out / "results.json"
        return (json.loads(path.read_text()) if path.is_file() else {}), done

    return run


@pytest.mark.slow
@layouts
def test_every_layout_and_coding_is_read_as_its_labels_are(tmp_path, reproduce, name):
    made = sets.LAYOUTS[name]
    wanted = sets.make(name, tmp_path / "set")
    figures, done = reproduce(made.preset, tmp_path / "set")
    (result,) = figures["results"]
    support = [0] * len(EVERY[made.preset].rows)
    for truth in wanted.values():
        for code in range(len(support)):
            support[code] += int((truth == code).sum())
    for scored in result["scored"].values():
        assert [row["support"] for row in scored["classes"]] == support
    assert (result["images"], result["failed"]) == (len(made.pairs), {})
    assert result["model"]["precision"] == "float32"
    row = next(csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines()))
    assert (row["preset"], row["published"]) == (made.preset, str(EVERY[made.preset].published or ""))
    table = [line for line in done.out.splitlines() if line[0] in "┏┃┡│└"]
    assert max(map(len, table)) <= 80  # columns
    for heading in ("ours", "published", "difference"):
        figure = row[heading]
        assert heading in table[1]
        assert not figure or f"{float(figure):{'+' * (heading == 'difference')}.2f}" in table[3]
    assert (tmp_path / "out" / f"{made.preset}.published.png").is_file()


def test_the_confusion_is_drawn(tmp_path, segearth, model):
    sets.make("loveda converted", tmp_path / "set")
    assert segearth("reproduce", "loveda", tmp_path / "set", *model, "-o", tmp_path / "out").code == 0
    with rasterio.open(tmp_path / "out" / "loveda.published.png") as picture:
        assert np.ptp(picture.read()) > 100


def tiles_by_hand(length, tile, step):
    """Offsets as the converters count them."""
    return sorted({max(0, min(at, length - tile)) for at in range(0, length, step)})


def confusion(truth, codes, classes):
    """Pixels by true and predicted class, those of 255 left out."""
    counted = truth != 255
    pairs = truth[counted].astype(int) * classes + codes[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@pytest.mark.slow
@pytest.mark.parametrize("preset", every(3, sets.TILED))
def test_tiles_are_predicted_one_by_one_and_counted_as_published(tmp_path, segearth, reproduce, model, preset):
    name = "uavid as the authors name it" if preset == "uavid" else preset
    high, wide, step, kept = {
        "potsdam": (512, 512, (256, 256), (512, 512)),
        "vaihingen": (512, 512, (256, 256), (512, 512)),
        "isaid": (896, 896, (512, 512), (512, 512)),
        "uavid": (1080, 1280, (1080, 1280), (1080, 1280)),
        "inria": (1000, 1000, (1000, 1000), (1000, 1000)),
    }[preset]
    height, width = high + 200, wide + 300
    ((image, truth),) = sets.make(name, tmp_path / "set", height, width).items()
    classes = len(PRESETS[preset].rows)
    with rasterio.open(tmp_path / "set" / image) as ds:
        pixels = ds.read()
    counts = {"each tile": np.zeros((classes, classes), int), "kept": np.zeros((classes, classes), int)}
    tiles = {"each tile": 0, "kept": 0}
    for y in tiles_by_hand(height, high, step[0]):
        for x in tiles_by_hand(width, wide, step[1]):
            crop = sets.save(tmp_path / "crop.tif", pixels[:, y : y + high, x : x + wide])
            mask = tmp_path / "crop.mask.tif"
            made = segearth(
                *("predict", crop, "--preset", preset, "--tile", "none", "-o", mask, "--overwrite", *model),
                *("--precision", "fp32", "-q", "--nodata", "none"),
            )
            assert made.code == 0, made.err
            with rasterio.open(mask) as ds:
                codes = ds.read(1)
            wanted = truth[y : y + high, x : x + wide]
            inside = y in tiles_by_hand(height, high, kept[0]) and x in tiles_by_hand(width, wide, kept[1])
            for way in ("each tile", "kept") if inside else ("each tile",):
                counts[way] += confusion(wanted, codes, classes)
                tiles[way] += 1
    scored = reproduce(preset, tmp_path / "set")[0]["results"][0]["scored"]
    ways = {"each tile": "each tile"} | (
        {"kept": "tiles of the published files"} if preset in ("potsdam", "vaihingen") else {}
    )
    for ours, theirs in ways.items():
        assert scored[theirs]["tiles"] == tiles[ours]
        assert [row[:-1] for row in scored[theirs]["confusion"]["counts"]] == counts[ours].tolist()
    mask = tmp_path / "whole.tif"
    made = segearth(
        *("predict", tmp_path / "set" / image, "--preset", preset, "-o", mask, *model, "--precision", "fp32", "-q"),
        *("--nodata", "none"),
    )
    assert made.code == 0, made.err
    with rasterio.open(mask) as ds:
        codes = ds.read(1)
    once = confusion(truth, codes, classes).tolist()
    assert [row[:-1] for row in scored["each pixel once"]["confusion"]["counts"]] == once


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["potsdam", "isaid"])
def test_tiles_that_a_converter_wrote_give_what_the_scene_gives(tmp_path, reproduce, preset):
    high, step = {"potsdam": (512, 512), "isaid": (896, 512)}[preset]
    ((image, truth),) = sets.make(preset, tmp_path / "set", high + 150, high + 90).items()
    with rasterio.open(tmp_path / "set" / image) as ds:
        pixels = ds.read()
    codes = sets.coded(truth, preset, "from 1" if preset == "potsdam" else "codes")
    for y in tiles_by_hand(high + 150, high, step):
        for x in tiles_by_hand(high + 90, high, step):
            place = f"{x}_{y}_{x + high}_{y + high}" if preset == "potsdam" else f"{y}_{y + high}_{x}_{x + high}"
            name, end = ("2_13", "") if preset == "potsdam" else ("P0003", "_instance_color_RGB")
            sets.save(tmp_path / f"cut/img_dir/val/{name}_{place}.png", pixels[:, y : y + high, x : x + high])
            sets.save(tmp_path / f"cut/ann_dir/val/{name}_{place}{end}.png", codes[y : y + high, x : x + high])
    whole = reproduce(preset, tmp_path / "set")[0]["results"][0]["scored"]
    cut = reproduce(preset, tmp_path / "cut", out="cut_out")[0]["results"][0]["scored"]
    way = "tiles of the published files" if preset == "potsdam" else "each tile"
    assert cut[way]["confusion"] == whole[way]["confusion"]
    assert sum(map(sum, cut["each pixel once"]["confusion"]["counts"])) == int((truth != 255).sum())


@pytest.mark.thorough
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(tmp_path, segearth, model):
    for number in range(6):
        sets.save(tmp_path / f"set/val/image/{number}.png", np.random.default_rng(number).integers(
            0, 255, (3, 40, 60), dtype=np.uint8))  # fmt: skip
        sets.save(tmp_path / f"set/val/label/{number}.png", sets.truth_of("whu-aerial", 40, 60, number) * 255)
    call = ("reproduce", "whu-aerial", tmp_path / "set", *model, "-o")
    assert segearth(*call, tmp_path / "whole").code == 0
    first = forked.start(*call, tmp_path / "killed")
    records = tmp_path / "killed" / "images"
    first.wait_for(lambda: len(list(records.glob("[0-9a-f]*.json"))) >= 2 + (records / "asked.json").exists())
    first.send(signal.SIGKILL)
    first.finish()
    assert not (tmp_path / "killed" / "results.json").exists()
    done = {path.name: path.stat().st_mtime_ns for path in records.glob("*.json") if path.name != "asked.json"}
    assert segearth(*call, tmp_path / "killed").code == 0
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "killed" / path.relative_to(tmp_path / "whole")).read_bytes()
    assert all((records / name).stat().st_mtime_ns == when for name, when in done.items())  # not computed again


@pytest.mark.slow
def test_rows_stand_beside_each_other_in_one_table(tmp_path, reproduce):
    sets.make("loveda converted", tmp_path / "set")
    rows = "published,no-upsampler,clip,clearclip,sclip"
    figures, done = reproduce("loveda", tmp_path / "set", "--rows", rows)
    assert [row["row"] for row in figures["table"]] == rows.split(",")
    assert {row["row"]: row["published"] for row in figures["table"]} == {
        "published": 36.9, "no-upsampler": None, "clip": 12.4, "clearclip": 32.4, "sclip": None
    }  # fmt: skip
    models = {result["row"]: result["model"] for result in figures["results"]}
    assert models["clip"]["attention"] == "vanilla"
    assert (models["clip"]["keep_residual"], models["clip"]["global_bias"]) == (True, 0)
    assert models["sclip"]["attention"] == "sclip"
    assert all(row in done.out for row in rows.split(","))


@pytest.mark.thorough
def test_every_row_with_and_without_the_upsampler_stands_in_one_table(tmp_path, reproduce, upsampler_file):
    sets.make("loveda converted", tmp_path / "set")
    figures, _ = reproduce("loveda", tmp_path / "set", "--rows", "all", "--upsampler", upsampler_file)
    names = ["segearth", "clearclip", "sclip", "maskclip", "naclip", "nonly", "gav", "gem", "vanilla"]
    wanted = ["published", "no-upsampler", "no-global-bias", "clip"]
    wanted += [row for name in names for row in (name, f"{name}+simfeatup")]
    assert [row["row"] for row in figures["table"]] == wanted
    ran = {result["row"]: result["model"] for result in figures["results"]}
    assert all((model["upsampler"] == "none") is ("+" not in row) for row, model in ran.items() if row in wanted[3:])
    assert len({row["ours"] for row in figures["table"]}) > 5


def test_both_wordings_of_the_isprs_sets_are_offered_and_named(tmp_path, reproduce):
    sets.make("potsdam converted", tmp_path / "set")
    ours = reproduce("potsdam", tmp_path / "set")[0]["results"][0]
    theirs = reproduce("potsdam", tmp_path / "set", "--words", "cvpr", out="cvpr")[0]["results"][0]
    assert ["road", "parking lot"] in theirs["classes"]
    assert ["grass"] in ours["classes"]
    assert (ours["source"], theirs["source"]) == ("arXiv:2508.18067", "github.com/likyoo/SegEarth-OV")


def test_what_another_run_wrote_is_not_replaced_unasked(tmp_path, reproduce):
    sets.make("loveda converted", tmp_path / "set")
    reproduce("loveda", tmp_path / "set")
    before = (tmp_path / "out" / "results.json").read_bytes()
    _, again = reproduce("loveda", tmp_path / "set", "--attention", "sclip", code=2)
    assert "--overwrite" in again.err
    assert (tmp_path / "out" / "results.json").read_bytes() == before
    reproduce("loveda", tmp_path / "set")
    assert (tmp_path / "out" / "results.json").read_bytes() == before
    figures, _ = reproduce("loveda", tmp_path / "set", "--attention", "sclip", "--overwrite")
    assert figures["results"][0]["model"]["attention"] == "sclip"
    assert figures["table"][0]["row"] == "as given"


@pytest.mark.parametrize("name", ["results.csv", "loveda.published.png", "results.json"])
def test_a_file_of_ones_own_in_the_folder_is_left_alone(tmp_path, segearth, model, name):
    sets.make("loveda converted", tmp_path / "set")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    done = segearth("reproduce", "loveda", tmp_path / "set", "-o", tmp_path / "out", *model, "-q")
    assert (done.code, len(done.lines)) == (2, 1)
    assert f"{name}: exists already" in done.err
    assert (tmp_path / "out" / name).read_text() == "mine"


def test_missing_halves_and_damaged_images_are_told_and_the_rest_is_scored(tmp_path, reproduce):
    sets.make("loveda", tmp_path / "set")
    sets.save(tmp_path / "set/Val/Rural/images_png/9.png", np.zeros((3, 16, 16), np.uint8))
    (tmp_path / "set/Val/Urban/images_png/3514.png").write_bytes(b"no picture")
    figures, done = reproduce("loveda", tmp_path / "set", code=3)
    assert "9.png" in done.err
    assert len(figures["results"][0]["failed"]) == 1
    assert figures["results"][0]["images"] == 1
    assert reproduce("loveda", tmp_path / "set", "--allow-missing")[1].code == 0


@pytest.mark.slow
def test_all_sets_below_a_folder_stand_in_one_table(tmp_path, segearth, model):
    for name in ("loveda", "potsdam converted", "vdd", "spacenet"):
        sets.make(name, tmp_path / "sets" / name.split()[0])
    done = segearth("reproduce", "--all", tmp_path / "sets", "-o", tmp_path / "out", *model)
    assert done.code == 0, done.err
    table = json.loads((tmp_path / "out" / "results.json").read_text())["table"]
    assert {row["preset"] for row in table} == {"loveda", "potsdam", "vdd", "spacenet"}
    assert "no folder of openearthmap" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["loveda"],
        ["loveda", "{}", "--all", "{}"],
        ["cityscapes", "{}"],
        ["loveda", "{}", "--rows", "best"],
        ["loveda", "{}", "--precision", "bf16"],
        ["loveda", "{}/nowhere"],
        ["--all", "{}/nowhere"],
        ["--all", "{}"],
    ],
)
def test_what_cannot_be_meant_is_one_line(tmp_path, segearth, model, arguments):
    done = segearth("reproduce", *(text.replace("{}", str(tmp_path)) for text in arguments), *model)
    assert (done.code, done.out, len(done.lines)) == (2, "", 1), done.err
