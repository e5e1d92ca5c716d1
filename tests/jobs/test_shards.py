"""Long jobs: the mask does not depend on the cut, and nothing that happens to a run is lost on it."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager

import forked
import noise
import numpy as np
import pytest
import rasterio
import rasterio.shutil
from one_scene import only_one
from rasterio.control import GroundControlPoint
from tiers import every

from segearth_cli.classes import parse
from segearth_cli.jobs.compute import Job, Share
from segearth_cli.jobs.merge import mask_vrt
from segearth_cli.jobs.run_folder import open_ledger
from segearth_cli.jobs.work_list import Entry, WorkList
from segearth_cli.prediction.plan import PredictOptions
from segearth_cli.prediction.scene_to_mask import Predictor, RunOptions, assembled_once, predict_scene
from segearth_cli.raster import Outputs, ReadOptions, frame_from_json, frame_to_json, open_scene
from segearth_cli.weights.assembly import ModelOptions, assemble

CLASSES = parse("water|river,building,road,forest")
RUN = RunOptions(quiet=True)
WINDOW, STRIDE = 224, 200  # px; windows overlap, yet a scene of 20 shards has few of them


@pytest.fixture(scope="module")
def model(model_dir):
    return model_dir


@pytest.fixture(scope="module")
def assembled(model):
    return assemble(model_options(model), CLASSES)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """20 shards of 512 px, one without data, some with holes."""
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    return noise.save_scene(path, 2500, 2000, nodata=0, holes=[(100, 200, 300, 400), (512, 1024, 512, 512)])


def model_options(model):
    return ModelOptions(f"local-dir:{model}", device="cpu", precision="fp32")


def predicting(options):
    return PredictOptions(**{"window": WINDOW, "stride": STRIDE} | options)


def job(scene, folder, model, size=512, kinds=("mask",), **options):
    return Job(str(scene), folder, kinds, size, model_options(model), predicting(options), CLASSES)


def outputs(folder, kinds=("mask",)):
    folder.mkdir(exist_ok=True)
    return Outputs(**{kind: folder / f"{kind}.tif" for kind in kinds})


def predictor(assembled, options):
    return Predictor(lambda: assembled, CLASSES, options, RUN)


def direct(scene, folder, assembled, kinds=("mask",), **options):
    files = outputs(folder, kinds)
    predict_scene(str(scene), files, predictor(assembled, predicting(options)))
    return contents(files)


def sharded(made, folder, assembled, share=None, *, join=False):
    files, run = outputs(folder, made.kinds), predictor(assembled, made.options)
    if share is None:
        only_one(Entry(made, files), run, join=join)
        return contents(files)
    WorkList([Entry(made, files)], run, lambda *_: None, share=share).run()
    return None


def contents(files):
    return {kind: path.read_bytes() for kind, path in files.by_kind().items()}


@pytest.fixture(scope="module")
def expected(scene, assembled, tmp_path_factory):
    return direct(scene, tmp_path_factory.mktemp("expected"), assembled)


@pytest.fixture(scope="module")
def finished(scene, model, assembled, tmp_path_factory):
    """A folder that holds all shards of the scene."""
    folder = tmp_path_factory.mktemp("finished")
    sharded(job(scene, folder / "work", model), folder / "joined", assembled)
    return folder / "work"


def take_part(made, folder):
    """What a process does that joins a run and ends with the mask; `folder`/begun appears when it begins."""
    model = assembled_once(made.model, CLASSES)
    model()
    files = outputs(folder, made.kinds)
    (folder / "begun").touch()
    only_one(Entry(made, files), Predictor(model, CLASSES, made.options, RUN), join=True)


def take_part_without_locks(made, folder):
    """The same on a file system that has no locks."""
    import fcntl

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    fcntl.flock = no_locks
    take_part(made, folder)


def words(model, arguments):
    """All that is typed for these arguments."""
    if arguments[0] != "predict":
        return [*map(str, arguments)]
    full = [*arguments, "-m", f"local-dir:{model}", "-c", "water|river,building,road,forest", "--precision", "fp32"]
    full += ["--background", "none", "--window", WINDOW, "--stride", STRIDE]
    return [*map(str, full + ([] if "--devices" in arguments else ["-d", "cpu"]))]


@pytest.fixture
def command(segearth, tmp_path, model):
    """Runs the command line in this process: exit code and stderr; `tmp_path`/stdout holds the rest."""

    def run(*arguments):
        done = segearth(*words(model, arguments))
        (tmp_path / "stdout").write_text(done.out)
        return done.code, done.err

    return run


def killed(model, *arguments, after, act):
    """Exit code and stderr of a process of its own; act is called with its number once `after` is true."""
    process = forked.start(*words(model, arguments))
    process.wait_for(after)
    act(process.pid)
    done = process.finish()
    return done.returncode, done.stderr


def records(folder):
    return sorted((folder / "shards").glob("*/*.json"))


def leftovers(folder):
    return [path for path in folder.rglob(".*") if path.name.startswith(".") and not path.name.endswith(".lock")]


EVERYTHING = ("mask", "confidence", "scores")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "pixels"),
    [
        ({"window": 64, "stride": 48}, {"nodata": 0, "holes": [(100, 200, 300, 400)]}),
        pytest.param(
            {"blend": "taper", "window": 64, "stride": 40, "scale": 0.71},
            {"dtype": "uint16"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"scale": 1.3, "window": 96, "stride": 80, "read": ReadOptions(stretch="P2,P98")},
            {"nodata": 0, "holes": [(0, 0, 600, 90)]},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["native", "coarser", "finer"],
)
def test_no_byte_depends_on_how_a_scene_is_cut(tmp_path, model, assembled, options, pixels):
    scene = noise.save_scene(tmp_path / "scene.tif", 540, 603, seed=3, **pixels)
    whole = direct(scene, tmp_path / "whole", assembled, EVERYTHING, **options)
    for size in (512, 2048):
        made = job(scene, tmp_path / f"work {size}", model, size, EVERYTHING, **options)
        assert sharded(made, tmp_path / f"joined {size}", assembled) == whole


@pytest.mark.slow
def test_shares_in_any_order_merge_to_the_same_mask_once_all_are_there(
    command, tmp_path, model, assembled, scene, expected
):
    made = job(scene, tmp_path / "work", model)
    order = [3, 0, 2, 1]
    for index in order[:-1]:
        sharded(made, tmp_path, assembled, Share(index, 4), join=True)
    code, errors = command("merge", tmp_path / "work", "-q", "-o", tmp_path / "mask.tif")
    assert code == 1
    assert "5 of 20 shards are missing: r00000c00001 (not computed yet)" in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "mask.tif").exists()
    sharded(made, tmp_path, assembled, Share(order[-1], 4), join=True)
    code, errors = command("merge", tmp_path / "work", "-q", "-o", tmp_path / "mask.tif")
    assert (code, errors) == (0, "")
    assert (tmp_path / "mask.tif").read_bytes() == expected["mask"]


@pytest.mark.slow
def test_vrt_and_cog_hold_the_mask_with_all_that_belongs_to_it(command, tmp_path, model, assembled, scene):
    made = job(scene, tmp_path / "work", model)
    sharded(made, tmp_path / "joined", assembled)
    cog = ("merge", tmp_path / "work", "-q", "-o", tmp_path / "cog.tif", "--format", "cog")
    assert command(*cog) == (0, "")
    moved = shutil.move(tmp_path / "work", tmp_path / "elsewhere")  # a VRT's paths are relative to it
    with rasterio.open(tmp_path / "joined" / "mask.tif") as mask:
        for path in (tmp_path / "cog.tif", mask_vrt(moved)):
            with rasterio.open(path) as other:
                assert np.array_equal(other.read(), mask.read())
                assert (other.crs, other.transform, other.nodata) == (mask.crs, mask.transform, mask.nodata)
                assert other.tags() == mask.tags()
                assert other.colormap(1) == mask.colormap(1)
    with rasterio.open(tmp_path / "cog.tif") as ds:
        assert ds.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


@pytest.mark.slow
def test_killed_at_random_moments_a_run_ends_with_the_same_mask_and_computes_nothing_twice(
    tmp_path, model, assembled, scene, expected
):
    made, moments = job(scene, tmp_path / "work", model), random.Random(7)
    begun, written = tmp_path / "joined" / "begun", {}
    for _ in range(4):
        begun.unlink(missing_ok=True)
        process = forked.Process(take_part, made, tmp_path / "joined")
        process.wait_for(begun.exists)
        time.sleep(moments.uniform(0, 0.1))
        process.send(signal.SIGKILL)
        process.finish()
        for record in records(tmp_path / "work"):
            written.setdefault(record, record.stat().st_ino)
    assert sharded(made, tmp_path / "joined", assembled, join=True) == expected
    assert {record: record.stat().st_ino for record in written} == written
    assert leftovers(tmp_path / "work") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code", "line"), every(2, [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")])
)
def test_interrupted_it_ends_at_once_and_goes_on_with_resume(
    command, tmp_path, model, scene, expected, sent, code, line
):
    run = ("predict", scene, "-o", tmp_path / "mask.tif", "--work", tmp_path / "work", "--shard-size", 512)
    started = lambda: len(records(tmp_path / "work")) > 2  # noqa: E731
    got = killed(model, *run, after=started, act=lambda pid: os.kill(pid, sent))
    assert got == (code, f"segearth: {line}\n")
    done = len(records(tmp_path / "work"))
    assert 2 <= done < 20  # the record that was on its way to the disk is taken back
    assert not (tmp_path / "mask.tif").exists()
    assert leftovers(tmp_path / "work") == []
    assert command(*run)[1].endswith("go on with --resume, or choose another folder\n")
    got = command(*run, "--resume")
    assert got[0] == 0
    assert got[1].startswith(f"segearth: {tmp_path / 'work'}: {done} of 20 shards are done already\n")
    assert (tmp_path / "mask.tif").read_bytes() == expected["mask"]
    assert (tmp_path / "stdout").read_text() == f"{tmp_path / 'mask.tif'}\n"


@pytest.mark.slow
def test_without_a_work_folder_an_interrupted_run_leaves_nothing(tmp_path, model, scene):
    run = ("predict", scene, "-o", tmp_path / "out" / "mask.tif")
    (tmp_path / "out").mkdir()
    begun = lambda: any((tmp_path / "out").iterdir())  # noqa: E731
    got = killed(model, *run, after=begun, act=lambda pid: os.kill(pid, signal.SIGTERM))
    assert got == (143, "segearth: terminated\n")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("act", [take_part, take_part_without_locks])
def test_two_runs_in_one_folder_share_the_work(tmp_path, model, scene, expected, act):
    made = job(scene, tmp_path / "work", model)
    both = [forked.Process(act, made, tmp_path / f"joined{i}") for i in range(2)]
    assert [process.finish().returncode for process in both] == [0, 0]
    masks = {(tmp_path / f"joined{i}" / "mask.tif").read_bytes() for i in range(2)}
    assert masks == {expected["mask"]}
    assert list((tmp_path / "work" / "temporary").iterdir()) == []


def test_another_run_is_refused_with_every_difference(command, tmp_path, model, assembled, scene):
    sharded(job(scene, tmp_path / "work", model), tmp_path, assembled, Share(0, 20))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*")}
    run = ("predict", scene, "-o", tmp_path / "mask.tif", "--work", tmp_path / "work", "--resume")
    code, errors = command(*run, "--shard-size", 1024, "-t", 0.3, "--confidence", tmp_path / "c.tif")
    assert code == 1
    first, _, told = errors.strip().partition(" What differs: ")
    assert first.endswith("holds another run; take its options or another folder.")
    assert told.split("; ") == [
        *("threshold: 0.0 there, 0.3 now", "shard_size: 512 there, 1024 now"),
        'outputs: ["mask"] there, ["mask", "confidence"] now',
    ]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*")} == before


def test_a_scene_replaced_between_runs_is_refused(command, tmp_path, model, assembled):
    scene = noise.save_scene(tmp_path / "scene.tif", 600, 600, compress=None)
    sharded(job(scene, tmp_path / "work", model), tmp_path, assembled, Share(0, 2))
    noise.save_scene(scene, 600, 600, compress=None, seed=1)
    code, errors = command("predict", scene, "--work", tmp_path / "work", "--shard-size", 512, "--resume")
    assert code == 1
    told = errors.partition(" What differs: ")[2]
    assert [difference.split(":")[0] for difference in told.split("; ")] == [
        *("scene.modified", "scene.fingerprint", "scene_fingerprint")
    ]  # fmt: skip


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def alter(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty_record(path):
    path.with_name("r00001c00001.json").write_text("")


@pytest.mark.parametrize("harm", every(2, [truncate, alter, empty_record, os.unlink]))
def test_a_damaged_shard_is_told_by_merge_and_computed_again_by_resume(
    command, tmp_path, model, assembled, scene, expected, finished, harm
):
    made = job(scene, shutil.copytree(finished, tmp_path / "work"), model)
    kept = {path: path.stat().st_ino for path in records(tmp_path / "work") if path.stem != "r00001c00001"}
    harm(tmp_path / "work" / "shards" / "r00001" / "r00001c00001.mask.tif")
    code, errors = command("merge", tmp_path / "work")
    assert code == 1
    assert "1 of 20 shards are missing: r00001c00001 (r00001c00001." in errors
    assert sharded(made, tmp_path / "joined", assembled, join=True) == expected
    assert {path: path.stat().st_ino for path in kept} == kept


@contextmanager
def small_disk(folder, size):
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False).returncode
    ):
        pytest.skip("cannot mount a small disk here")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_or_is_read_only_is_one_line_and_the_run_goes_on_later(command, tmp_path, scene, expected):
    with small_disk(tmp_path / "disk", len(expected["mask"]) * 2 // 3) as remount:  # bytes
        run = ("predict", scene, "-o", tmp_path / "mask.tif", "--work", tmp_path / "disk" / "work", "--shard-size", 512)
        code, errors = command(*run, "-q")  # a slow machine tells its progress
        assert code == 1
        assert len(errors.splitlines()) == 1
        assert "cannot write" in errors
        done = len(records(tmp_path / "disk" / "work"))
        assert 0 < done < 20
        remount("ro")
        code, errors = command(*run, "--resume", "-q")
        assert code == 1
        assert len(errors.splitlines()) == 1
        assert "Read-only file system" in errors
        assert not (tmp_path / "mask.tif").exists()
        remount("rw,size=64m")
        assert command(*run, "--resume", "-q") == (0, "")
        assert (tmp_path / "mask.tif").read_bytes() == expected["mask"]


@pytest.mark.slow
def test_a_sparse_scene_costs_what_its_data_costs(tmp_path, model, assembled):
    scene = tmp_path / "sparse.tif"
    profile = {"driver": "GTiff", "dtype": "uint8", "tiled": True, "blockxsize": 512, "blockysize": 512}
    with rasterio.open(scene, "w", height=30_000, width=30_000, count=3, nodata=0, sparse_ok=True, **profile) as ds:
        pixels = np.random.default_rng(0).integers(1, 255, (3, 300, 300), dtype=np.uint8)
        ds.write(pixels, window=rasterio.windows.Window(20_100, 10_100, 300, 300))
    made = job(scene, tmp_path / "work", model, 4096)
    sharded(made, tmp_path, assembled, Share())
    ledger = open_ledger(tmp_path / "work")
    found = [ledger.look(shard) for shard in ledger.shards]
    assert [look.state for look in found].count("empty") == 63
    with rasterio.open(mask_vrt(tmp_path / "work")) as ds:
        assert (ds.read(1, window=rasterio.windows.Window(20_100, 10_100, 300, 300)) != 255).all()
        assert (ds.read(1, out_shape=(300, 300)) != 255).sum() <= 25


@pytest.mark.slow
def test_a_process_a_device_gives_the_same_mask(command, tmp_path, scene, expected):
    run = ("predict", scene, "-o", tmp_path / "mask.tif", "--work", tmp_path / "work", "--shard-size", 512, "--resume")
    assert command(*run, "-q", "--devices", "cpu,cpu") == (0, "")
    assert (tmp_path / "mask.tif").read_bytes() == expected["mask"]


@pytest.mark.slow
def test_a_manifest_is_gone_through_whatever_fails_and_only_what_is_new_is_computed(command, tmp_path):
    scenes = [noise.save_scene(tmp_path / f"{name}.tif", 200, 200, seed=i) for i, name in enumerate("ab")]
    manifest = tmp_path / "scenes.csv"
    rows = [f"{scenes[0]},{tmp_path}/out/a.tif", f"{tmp_path}/gone.tif,{tmp_path}/out/g.tif", f"{scenes[1]},"]
    manifest.write_text("\n".join(["scene,out", *rows]))
    (tmp_path / "out").mkdir()
    run = ("predict", "--manifest", manifest, "-o", tmp_path / "masks", "--summary", tmp_path / "sum.csv")
    code, errors = command(*run)
    assert code == 3
    assert errors.splitlines()[-2] == "segearth: 3 scenes: 2 done, 0 skipped, 1 failed"
    masks = [tmp_path / "out" / "a.tif", tmp_path / "masks" / "b.mask.tif"]
    assert (tmp_path / "stdout").read_text().splitlines() == [str(mask) for mask in masks]
    before = [mask.stat().st_mtime_ns for mask in masks]
    noise.save_scene(scenes[1], 200, 200, seed=9)
    noise.save_scene(tmp_path / "gone.tif", 200, 200)
    code, errors = command(*run)
    assert code == 3
    assert "b.mask.tif: exists already, from another run; replace it with --overwrite" in errors
    code, errors = command(*run, "--overwrite")
    assert code == 0
    states = [line.split(",")[2] for line in (tmp_path / "sum.csv").read_text().splitlines()[1:]]
    assert states == ["skipped", "skipped", "done"]
    assert masks[0].stat().st_mtime_ns == before[0]
    assert masks[1].stat().st_mtime_ns > before[1]


@pytest.mark.parametrize("placed", ["gcps", "rotated", "nothing"])
def test_a_frame_survives_its_json(tmp_path, placed):
    points = [GroundControlPoint(r, c, 10 + c / 7, 50 - r / 3, 5, str(r), "") for r, c in ((0, 0), (0, 99), (99, 0))]
    places = {
        "gcps": {"gcps": points, "crs": "EPSG:4326"},
        "rotated": {"transform": rasterio.Affine(0.1, 0.2, 1 / 3, -0.3, 0.1, 2 / 3), "crs": "ESRI:54009"},
        "nothing": {},
    }
    path = tmp_path / "scene.tif"
    with rasterio.open(path, "w", driver="GTiff", height=100, width=100, count=3, dtype="uint8", **places[placed]):
        pass
    scene = open_scene(str(path), ReadOptions(bands=(1, 2, 3)))
    again = frame_from_json(json.loads(json.dumps(frame_to_json(scene))))
    assert (again.crs, again.transform, again.height, again.width) == (scene.crs, scene.transform, 100, 100)
    assert [p.asdict() for p in again.gcps[0]] == [p.asdict() for p in scene.gcps[0]]
    assert again.gcps[1] == scene.gcps[1]


WRONG = [
    *("--shard-index 1", "--shard-index 4 --shard-count 4 --work w", "--shard-size 1000 --work w"),
    *("--scheduler x:1 --work w", "--engine spark --work w", "--devices cpu,cpu"),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_options_that_do_not_go_together_are_one_line(command, tmp_path, scene, wrong):
    code, errors = command("predict", scene, *wrong.split())
    assert code == 2
    assert len(errors.splitlines()) == 1
    assert wrong.split()[0] in errors


def test_a_folder_without_a_run_is_told(command, tmp_path):
    code, errors = command("merge", tmp_path)
    assert code == 1
    assert errors == f"segearth: {tmp_path}: holds no run.json; name the --work folder of a `segearth predict`\n"
    file = tmp_path / "a.tif"
    file.write_bytes(b"no folder at all")
    code, errors = command("merge", file)
    assert (code, errors) == (
        1, f"segearth: {file}: holds no run.json; name the --work folder of a `segearth predict`\n"
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="holds no run"):
        open_ledger(tmp_path)
