"""`segearth predict` as a shell pipeline meets it: streams, files, exit codes."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import forked
import numpy as np
import pytest
import rasterio
import shell

from segearth_cli.classes import from_tag

CLASSES = ("--classes", "background,water|river,roof,tree")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def predict(segearth, model_dir):
    """Runs `segearth predict` with the tiny model on the CPU."""

    def run(*arguments, classes=CLASSES, upsampler="none", **options):
        model = (
            "--model",
            f"local-dir:{model_dir}",
            "--upsampler",
            upsampler,
            "--device",
            "cpu",
            "--precision",
            "fp32",
        )
        return segearth("predict", *model, *classes, *arguments, **options)

    return run


@pytest.fixture
def scene(write_raster, noise):
    return Path(write_raster("scene.tif", noise(3, 100, 90)))


def codes_of(path):
    with rasterio.open(path) as ds:
        return ds.read(1)


def files(folder="."):
    return sorted(path.name for path in Path(folder).iterdir())


# files


def test_a_cloud_optimised_mask_is_the_same_in_one_go_and_of_shards(predict, scene):
    form = ("--format", "cog", "--compress", "zstd")
    assert predict(scene, "-o", "plain.tif").code == 0
    assert predict(scene, *form, "-o", "direct.tif").code == 0
    assert predict(scene, *form, "-o", "shards.tif", "--work", "run").code == 0
    assert Path("direct.tif").read_bytes() == Path("shards.tif").read_bytes()
    assert np.array_equal(codes_of("direct.tif"), codes_of("plain.tif"))
    with rasterio.open("direct.tif") as ds:
        assert (ds.tags(ns="IMAGE_STRUCTURE")["LAYOUT"], ds.profile["compress"]) == ("COG", "zstd")


# words


@pytest.mark.parametrize(
    ("meaning", "phrases"),
    [
        ("distractors", ("building", "road", "grass", "cropland", "bare soil")),
        ("competing", ("background",)),
        ("threshold", ()),
    ],
)
def test_code_0_is_the_background_that_a_list_does_not_name_whatever_it_means(predict, scene, meaning, phrases):
    plain = ("--classes", "water|river,tree")
    told = predict(scene, "--background", meaning, "--scores", "s.tif", "--json", classes=plain)
    assert sum("code 0, background, which the list does not name" in line for line in told.lines) == 1
    with rasterio.open("scene.mask.tif") as ds:
        made = from_tag(ds.tags()["SEGEARTH_CLASSES"])
        assert json.loads(ds.tags()["SEGEARTH_RUN"])["classes"][0] == list(phrases)
    assert (made.names, made.phrases[0], made.background) == (("background", "water", "tree"), phrases, 0)
    if phrases:  # the same words as a class of the list
        predict(
            scene, "--out", "said.tif", "--background", phrases[0], classes=("-c", f"{'|'.join(phrases)},{plain[1]}")
        )
        assert (codes_of("said.tif") == codes_of("scene.mask.tif")).all()
    else:
        predict(scene, "--out", "forced.tif", "--background", "none", classes=plain)
        assert (codes_of("forced.tif") + 1 == codes_of("scene.mask.tif")).all()
        assert (codes_of("s.tif") == 0).all()  # the first band is that of the background


def test_without_a_word_on_it_the_background_of_a_list_is_distractors(predict, scene):
    plain = ("--classes", "water|river,tree")
    predict(scene, "--out", "a.tif", classes=plain)
    predict(scene, "--out", "b.tif", "--background", "distractors", classes=plain)
    assert Path("a.tif").read_bytes() == Path("b.tif").read_bytes()
    assert (
        len(predict(scene, "--out", "c.tif").lines) == 1
    )  # what was made; a list that names its own is told nothing of it


def test_a_background_below_the_threshold_alone_is_what_is_unsure(predict, scene):
    plain = ("--classes", "water|river,tree")
    predict(scene, "--confidence", "c.tif", "--out", "all.tif", "--background", "threshold", classes=plain)
    codes, confidence = codes_of("all.tif"), codes_of("c.tif") / 254
    threshold = float(np.median(confidence)) + 0.001
    told = predict(scene, "-t", threshold, "--out", "some.tif", "--background", "threshold", classes=plain)
    assert "pixels below --threshold" in told.err
    clear = np.abs(confidence - threshold) > 0.5 / 254
    assert (codes_of("some.tif") == np.where(confidence < threshold, 0, codes))[clear].all()


@pytest.mark.parametrize("meaning", ["distractors", "competing", "threshold"])
def test_a_list_that_names_its_background_takes_no_other(predict, scene, meaning):
    done = predict(scene, "--background", meaning)
    assert (done.code, len(done.lines)) == (2, 1)
    assert "the list has 'background' itself" in done.err


@pytest.mark.slow
def test_a_sharper_softmax_changes_what_is_sure_and_a_mean_of_synonyms_the_tags(predict, scene):
    predict(scene, "--out", "50.tif", "--confidence", "c50.tif")
    predict(scene, "--out", "100.tif", "--confidence", "c100.tif", "--logit-scale", "100")
    assert (codes_of("50.tif") == codes_of("100.tif")).all()
    assert (codes_of("c100.tif") >= codes_of("c50.tif")).all()
    assert codes_of("c100.tif").sum() > codes_of("c50.tif").sum()
    Path("t.txt").write_text("an image of {}.\n")
    flags = ("--logit-scale", "100", "--templates", "t.txt", "--synonyms", "mean")
    predict(scene, "--out", "said.tif", *flags)
    with rasterio.open("50.tif") as plain, rasterio.open("said.tif") as said:
        usual, run = (json.loads(ds.tags()["SEGEARTH_RUN"]) for ds in (plain, said))
    named = ("logit_scale", "templates", "synonyms")
    assert [run[name] for name in named] == [100, ["an image of {}."], ["max", "mean", "max", "max"]]
    assert not set(named) & set(usual)  # as masks of former versions say it


def test_a_run_goes_on_with_the_same_words_alone(predict, scene):
    predict(scene, "--work", "w")
    for flags in (("--logit-scale", "40"), ("--templates", "7"), ("--synonyms", "mean")):
        done = predict(scene, "--work", "w", "--resume", "--out", "other.tif", *flags)
        assert (done.code, len(done.lines)) == (1, 1)
        assert "holds another run" in done.err
        assert f"{flags[0].strip('-').replace('-', '_')}: " in done.err


@pytest.mark.slow
def test_a_class_file_says_how_synonyms_count_and_a_flag_wins_over_it(predict, scene):
    Path("classes.txt").write_text("background\nwater, river; synonyms: mean\nroof\ntree\n")
    file = ("--classes-file", "classes.txt")
    predict(scene, "--out", "a.tif", classes=file)
    predict(scene, "--out", "b.tif", "--synonyms", "mean")
    predict(scene, "--out", "c.tif", "--synonyms", "max", classes=file)
    predict(scene, "--out", "d.tif")
    assert (codes_of("a.tif") == codes_of("b.tif")).all()
    assert (codes_of("c.tif") == codes_of("d.tif")).all()


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_words_that_the_model_has_never_seen_are_told_before_any_scene_is_opened(segearth, model_dir, flags):
    folder = Path("model")
    folder.mkdir()
    for file in model_dir.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "vocabulary.txt").write_text("background\nwater\nroof\n")
    Path("scene.tif").write_text("no raster")
    done = segearth("predict", "scene.tif", "-m", "local-dir:model", "-c", "watre,roof", *flags)
    assert "has never seen: watre (water?);" in done.lines[0]
    assert "scene.tif" in done.lines[-1]


# streams


def test_stdout_is_the_path_of_each_mask_and_nothing_else(predict, scene, write_raster, noise):
    other = write_raster("other.scene.tif", noise(3, 40, 40))
    done = predict(scene, other)
    assert (done.code, done.out) == (0, "scene.mask.tif\nother.scene.mask.tif\n")
    assert {"scene.mask.tif", "scene.mask.tif.aux.xml", "other.scene.mask.tif"} <= set(files())


def test_stdin_gives_scenes(predict, scene):
    done = predict("-", "--quiet", stdin=f"{scene}\n")
    assert (done.code, done.out, done.err) == (0, "scene.mask.tif\n", "")


def test_quiet_is_quiet_and_verbose_tells_where_the_time_goes(predict, scene, write_raster, noise):
    grey = write_raster("grey.tif", noise(1, 40, 40), crs=None, transform=None)
    assert predict(grey, "--quiet").err == ""
    loud = predict(grey, "--verbose", "--overwrite")
    assert any("one band, read as grey" in line for line in loud.lines)
    assert any("no CRS" in line for line in loud.lines)
    assert any("waiting for pixels" in line and "1 windows of 64 px" in line for line in loud.lines)


def test_json_is_one_object_a_scene(predict, scene):
    done = predict(scene, "--json", "--confidence", "c.tif", "--scores", "s.tif", "--threshold", "0.3")
    told = json.loads(done.out)
    assert len(done.out.splitlines()) == 1
    assert [told[key] for key in ("mask", "confidence", "scores")] == ["scene.mask.tif", "c.tif", "s.tif"]
    codes = codes_of("scene.mask.tif")
    names = ["background", "water", "roof", "tree"]
    assert told["pixels"] == {name: int((codes == code).sum()) for code, name in enumerate(names)} | {"nodata": 0}
    assert told["run"]["threshold"] == 0.3


@pytest.mark.slow
def test_profile_tells_what_each_stage_took_and_leaves_the_mask_as_it_is(predict, scene, upsampler_file):
    plain = predict(scene, "-o", "plain.tif", "--json", "--upsampler", upsampler_file)
    done = predict(scene, "-o", "timed.tif", "--json", "--upsampler", upsampler_file, "--profile")
    assert Path("plain.tif").read_bytes() == Path("timed.tif").read_bytes()
    told = json.loads(done.out)
    stages, windows = told["profile"]["stages"], told["computed_windows"]
    assert {"read", "ViT", "kernels", "taps", "decide", "stitch", "write", "wait"} <= stages.keys()
    assert stages["ViT"]["calls"] == windows
    assert sum(spent["cpu_seconds"] for spent in stages.values()) <= told["profile"]["cpu_seconds"] + 0.05  # rounded
    table = [line.split()[1] for line in done.lines if line.split()[1] in (*stages, "rest", "run")]
    assert sorted(table) == sorted([*stages, "rest", "run"])
    assert "profile" not in json.loads(plain.out)


def test_profile_of_shards_is_refused_before_work_starts(predict, scene):
    done = predict(scene, "--profile", "--work", "run")
    assert done.code == 2
    assert "--profile with --work" in done.err
    assert not Path("run").exists()


@pytest.mark.slow
def test_refine_adaptive_is_the_same_mask_in_one_piece_and_in_shards_and_says_so(
    predict, write_raster, noise, upsampler_file
):
    large = Path(write_raster("large.tif", noise(3, 560, 530)))
    both = {"upsampler": upsampler_file}
    predict(large, "-o", "whole.tif", "--scores", "whole.s.tif", "--refine", "adaptive", **both)
    work = ("--work", "run", "--shard-size", "512", "--workers", "1", "--batch-size", "1", "--scores", "shards.s.tif")
    assert predict(large, "-o", "shards.tif", "--refine", "adaptive", *work, **both).code == 0
    assert (codes_of("whole.tif") == codes_of("shards.tif")).all()
    with rasterio.open("whole.s.tif") as one, rasterio.open("shards.s.tif") as other:
        assert one.read().tobytes() == other.read().tobytes()  # the logits themselves, whatever was decided of them
    with rasterio.open("whole.tif") as ds:
        assert json.loads(ds.tags()["SEGEARTH_RUN"])["refine"] == "adaptive"


def test_refine_adaptive_gives_way_where_probabilities_decide(predict, scene, upsampler_file):
    for arguments, upsampler in ((["--threshold", "0.3"], upsampler_file), ([], "none")):
        done = predict(scene, "--refine", "adaptive", "--json", "--overwrite", *arguments, upsampler=upsampler)
        assert "refine" not in json.loads(done.out)["run"]


def test_the_mask_says_how_it_was_made(predict, scene, model_dir, upsampler_file):
    predict(
        scene,
        "--threshold",
        "0.25",
        "--global-bias",
        "0.1",
        "--stride",
        "20",
        "--blend",
        "taper",
        upsampler=upsampler_file,
    )
    with rasterio.open("scene.mask.tif") as ds:
        run, classes = json.loads(ds.tags()["SEGEARTH_RUN"]), from_tag(ds.tags()["SEGEARTH_CLASSES"])
    assert classes.phrases == (("background",), ("water", "river"), ("roof",), ("tree",))
    expected = {
        "threshold": 0.25,
        "global_bias": 0.1,
        "stride": 20,
        "window": 64,
        "blend": "taper",
        "attention": "segearth",
    }
    assert {key: run[key] for key in expected} == expected
    for key, path in (
        ("model_sha256", model_dir / "open_clip_model.safetensors"),
        ("upsampler_sha256", upsampler_file),
    ):
        done = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
        assert run[key] == done.stdout.split()[0]


# what the options mean


def test_several_classes_come_out(predict, scene):
    predict(scene, "--background", "none")
    assert len(np.unique(codes_of("scene.mask.tif"))) > 1


@pytest.mark.slow
def test_threshold_and_background(predict, scene):
    predict(scene, "--confidence", "c.tif", "--out", "all.tif")
    codes, confidence = codes_of("all.tif"), codes_of("c.tif") / 254
    threshold = float(np.median(confidence)) + 0.001
    predict(scene, "--threshold", threshold, "--out", "some.tif")
    clear = np.abs(confidence - threshold) > 0.5 / 254
    expected = np.where(confidence < threshold, 0, codes)
    assert (codes_of("some.tif") == expected)[clear].all()
    predict(scene, "--threshold", 1, "--out", "last.tif", "--background", "roof", classes=("-c", "water,roof,tree"))
    assert (codes_of("last.tif") == 1).all()  # no class is put first
    predict(scene, "--threshold", 1, "--out", "none.tif", "--background", "none")
    assert len(np.unique(codes_of("none.tif"))) > 1


def test_scores_are_the_probabilities_of_the_classes(predict, scene):
    predict(scene, "--scores", "s.tif", "--confidence", "c.tif")
    with rasterio.open("s.tif") as ds:
        scores = ds.read()
        assert ds.descriptions == ("background", "water", "roof", "tree")
    assert (scores.argmax(axis=0) == codes_of("scene.mask.tif")).all()
    assert np.abs(scores.max(axis=0) * 254 - codes_of("c.tif")).max() <= 0.501


def test_nodata_of_the_scene_is_nodata_of_every_output(predict, write_raster, noise):
    values = noise(3, 100, 90) | 1
    values[:, 30:] = 0
    predict(write_raster("scene.tif", values, nodata=0), "--confidence", "c.tif", "--scores", "s.tif", "--scale", "0.5")
    hole = np.broadcast_to(np.arange(100)[:, None] >= 30, (100, 90))
    assert ((codes_of("scene.mask.tif") == 255) == hole).all()
    assert ((codes_of("c.tif") == 255) == hole).all()
    assert (np.isnan(codes_of("s.tif")) == hole).all()


@pytest.mark.parametrize("option", [("--scale", "0.5"), ("--gsd", "1"), ("--long-side", "50")], ids=" ".join)
def test_the_mask_lies_on_the_scenes_own_grid(predict, scene, option):
    assert predict(scene, *option).code == 0
    with rasterio.open("scene.mask.tif") as mask, rasterio.open(scene) as ds:
        assert (mask.shape, mask.transform, mask.crs) == (ds.shape, ds.transform, ds.crs)
        assert json.loads(mask.tags()["SEGEARTH_RUN"])["working_size"] == [50, 45]


def test_a_class_file_is_a_flag_with_colours(predict, scene):
    Path("classes.txt").write_text("background\nwater,river #0000ff\nroof # houses\ntree\n")
    predict(scene, "--out", "flag.tif")
    predict(scene, "--out", "file.tif", classes=("--classes-file", "classes.txt"))
    assert (codes_of("flag.tif") == codes_of("file.tif")).all()
    with rasterio.open("file.tif") as ds:
        assert ds.colormap(1)[1] == (0, 0, 255, 255)


# where files go


def test_existing_files_are_refused_before_any_work(predict, scene):
    Path("scene.mask.tif").write_text("precious")
    done = predict(scene)
    assert (done.code, done.out, len(done.lines)) == (2, "", 1)
    assert "--overwrite" in done.err
    assert Path("scene.mask.tif").read_text() == "precious"
    assert predict(scene, "--overwrite").code == 0


def test_a_scene_is_never_replaced_by_its_mask(predict, scene):
    before = scene.read_bytes()
    done = predict(scene, "--out", scene, "--overwrite")
    assert (done.code, done.out, len(done.lines)) == (2, "", 1)
    assert scene.read_bytes() == before


def test_several_scenes_go_to_a_folder(predict, scene, write_raster, noise):
    other = write_raster("other.tif", noise(3, 40, 40))
    done = predict(scene, other, "--out", "new/masks", "--confidence", "new/sure")
    assert done.out == "new/masks/scene.mask.tif\nnew/masks/other.mask.tif\n"
    assert files("new/sure") == ["other.confidence.tif", "scene.confidence.tif"]


def test_two_scenes_that_would_write_one_file_are_told(predict, scene):
    Path("b").mkdir()
    twin = Path("b") / scene.name
    twin.write_bytes(scene.read_bytes())
    done = predict(scene, twin)
    assert (done.code, done.out, len(done.lines)) == (2, "", 1)
    assert "would both write scene.mask.tif" in done.err
    same = predict(scene, "--out", "x.tif", "--confidence", Path("x.tif").absolute())
    assert (same.code, len(same.lines)) == (2, 1)


# exit codes


def test_one_bad_scene_is_one_line_and_1(predict):
    Path("bad.tif").write_text("no raster")
    done = predict("bad.tif")
    assert (done.code, done.out, len(done.lines)) == (1, "", 1)
    assert files() == ["bad.tif"]


def test_a_bad_scene_among_others_does_not_stop_them(predict, scene, write_raster, noise):
    Path("bad.tif").write_text("no raster")
    placeless = write_raster("placeless.tif", noise(3, 20, 20), crs=None, transform=None)
    done = predict("bad.tif", scene, placeless, "absent.tif", "--gsd", "1")
    assert (done.code, done.out) == (3, "scene.mask.tif\n")
    assert done.lines[-1].endswith(f"3 of 4 scenes failed: bad.tif, {placeless}, absent.tif")
    assert len(done.lines) == 6  # with the notice that one has no CRS, and what became of the good one


def test_a_scene_cut_off_in_the_middle_leaves_no_mask(predict, write_raster, noise):
    whole = Path(write_raster("whole.tif", noise(3, 400, 300))).read_bytes()
    Path("cut.tif").write_bytes(whole[: len(whole) // 2])
    done = predict("cut.tif")
    assert (done.code, done.out, len(done.lines)) == (1, "", 1)
    assert "cannot read rows" in done.err
    assert files() == ["cut.tif", "whole.tif"]


def test_weights_that_do_not_fit_are_told_once_for_all_scenes(predict, scene, write_raster, noise):
    Path("up.safetensors").write_text("nonsense")
    done = predict(scene, write_raster("other.tif", noise(3, 40, 40)), upsampler="up.safetensors")
    assert (done.code, done.out, len(done.lines)) == (1, "", 1)
    assert files() == ["other.tif", "scene.tif", "up.safetensors"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--scale", "0.5", "--gsd", "1"),
        ("--threshold", "2"),
        ("--threshold", "high"),
        ("--stride", "0"),
        ("--stride", "65"),
        ("--window", "-3"),
        ("--window", "7"),
        ("--window", "100000"),
        ("--classes", "water,,x"),
        ("--blend", "max"),
        ("--attention", "self"),
        ("--stretch", "9,1"),
        ("--bands", "red"),
        ("--batch-size", "0"),
        ("--workers", "0"),
        ("--device", "tpu"),
        ("--precision", "fp8"),
        ("--classes-file", "x.txt"),
        ("--no-such-flag",),
    ],
    ids=" ".join,
)
def test_bad_usage_is_one_line_and_2(predict, scene, arguments):
    done = predict(scene, *arguments)
    assert (done.code, done.out, len(done.lines)) == (2, "", 1)
    assert arguments[0] in done.err
    assert files() == ["scene.tif"]


def test_no_scene_and_no_classes_are_bad_usage(predict, scene):
    assert predict().code == 2
    assert predict(scene, classes=()).code == 2
    assert predict("-", stdin="").code == 2


# real processes


@pytest.mark.parametrize("case", ["far too large", "off scale", "alpha of many values", "no CRS"])
def test_a_dry_run_tells_all_that_the_run_tells_of_a_scene(segearth, model_dir, tmp_path, noise, write_raster, case):
    shutil.copytree(model_dir, tmp_path / "model")
    flags = ["-m", "local-dir:model", "--upsampler", "none", "-d", "cpu"]
    words = ["--preset", "loveda"] if case == "far too large" else ["-c", "water,roof"]
    size = (16, 2100) if case == "far too large" else (40, 60)
    made = {"crs": None, "transform": None} if case == "no CRS" else {}
    bands = 4 if case == "alpha of many values" else 3
    if bands == 4:
        made["colorinterp"] = [rasterio.enums.ColorInterp(i) for i in (3, 4, 5, 6)]
    scene = write_raster("scene.tif", noise(bands, *size), **made)
    if case == "off scale":
        (tmp_path / "model" / "segearth.json").write_text(json.dumps({"good_gsd": [0.05, 0.1]}))
    told = segearth("predict", scene, *flags, *words, "--dry-run")
    assert told.code == 0, told.err
    done = segearth("predict", scene, *flags, *words)
    assert done.code == 0, done.err
    lines = [line.partition("scene.tif: ")[2] for line in done.lines]
    said = {"far too large": "shrunk to", "off scale": "is good at", "no CRS": "no CRS"}.get(case, "flagged as alpha")
    told_of = [line for line in lines if said in line]
    assert len(told_of) == 1, done.err
    assert told_of[0] in told.out + told.err


@pytest.mark.slow
def test_a_dry_run_needs_no_model_library_and_writes_nothing(scene, model_dir):
    code = (
        "import sys; from segearth_cli import cli; code = cli.run(); "
        "sys.exit(code or ('loaded torch' if 'torch' in sys.modules else 0))"
    )
    arguments = [
        "predict",
        str(scene),
        "twin.tif",
        "--dry-run",
        *CLASSES,
        "--model",
        f"local-dir:{model_dir}",
        "--out",
        "new",
    ]
    Path("twin.tif").write_bytes(scene.read_bytes())
    done = shell.python(code, *arguments)
    assert done.returncode == 0, done.stderr
    assert "100 px" in done.stdout
    assert "6 windows of 64 px every 32 px" in done.stdout
    assert files() == ["scene.tif", "twin.tif"]


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_run_that_is_stopped_leaves_no_mask(write_raster, noise, model_dir, sent, code):
    scene = write_raster("scene.tif", noise(3, 2000, 2000), tiled=True)
    words = ("predict", scene, *CLASSES, "--model", f"local-dir:{model_dir}", "--upsampler", "none", "--stride", "8")
    run = forked.start(*words, "--device", "cpu")
    run.wait_for(lambda: list(Path().glob(".scene.mask.tif*.part*")))
    run.send(sent)
    done = run.finish()
    assert (done.returncode, done.stdout) == (code, "")
    assert not Path("scene.mask.tif").exists()
    if sent != signal.SIGKILL:  # which no program survives to clean up
        assert files() == ["scene.tif"]
        assert done.stderr == f"segearth: {'interrupted' if sent == signal.SIGINT else 'terminated'}\n"
