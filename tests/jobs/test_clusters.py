"""Many scenes as one list: on processes of this machine, on a Dask cluster that loses workers and its scheduler."""

import csv
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import forked
import noise
import pytest
import shell
from tiers import every

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

# A scheduler that has neither segearth nor torch.
GONE = "import sys; sys.modules.update(segearth_cli=None, torch=None, rasterio=None)"
BARE = f"{GONE}; from distributed.cli.dask_scheduler import main; main()"


@pytest.fixture(scope="module")
def made(model_dir, tmp_path_factory):
    """A folder with scenes of one to four shards, their list, and what direct runs make of them."""
    folder = tmp_path_factory.mktemp("made")
    sizes = [(600, 500), (300, 300), (1100, 900), (200, 700)]
    scenes = [noise.save_scene(folder / f"s{i}.tif", *size, seed=i) for i, size in enumerate(sizes)]
    (folder / "list.csv").write_text("\n".join(map(str, scenes)) + "\n")
    done = forked.segearth(
        "predict", "--manifest", folder / "list.csv", *flags(model_dir), "-d", "cpu", "-o", f"{folder}/whole/"
    )
    assert done.returncode == 0, done.stderr
    return folder


def flags(model_dir):
    return ("-c", "water,roof,road", "-m", f"local-dir:{model_dir}", "--upsampler", "none", "--precision", "fp32")


def sharded(made, model_dir, folder, *more):
    words = (
        "predict",
        "--manifest",
        made / "list.csv",
        *flags(model_dir),
        "-o",
        f"{folder}/out/",
        "--work",
        folder / "work",
    )
    words += ("--shard-size", 512, "--summary", folder / "sum.csv", *more)
    return forked.start(*words)


def finished(process, seconds=240):
    done = process.finish(seconds)
    return done.returncode, done.stderr


def same(made, folder):
    whole = {path.name: path.read_bytes() for path in (made / "whole").glob("*.tif")}
    return {path.name: path.read_bytes() for path in (folder / "out").glob("*.tif")} == whole and len(whole) == 4


@contextmanager
def running(*words, **changes):
    process = subprocess.Popen(
        [*words], env=shell.environment(**changes), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        kill(process)


def kill(process):
    """A process with all that it started, a worker with its nanny."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def scheduler(port):
    words = ("--host", "127.0.0.1", "--port", str(port), "--dashboard-address", ":0", "--no-dashboard", "--no-show")
    return running(sys.executable, "-c", BARE, *words)


def worker(port, *more):
    words = ("-m", "distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-dashboard")
    return running(sys.executable, *words, *more)


def records(folder):
    return [path for path in (folder / "work").rglob("r*.json") if not path.name.startswith(".")]


@pytest.mark.thorough
def test_one_list_on_two_processes_gives_the_same_masks(made, model_dir, tmp_path):
    code, told = finished(sharded(made, model_dir, tmp_path, "--devices", "cpu,cpu"))
    assert (code, same(made, tmp_path)) == (0, True), told
    assert "scene 3 of 4: " in told
    with (tmp_path / "sum.csv").open() as f:
        assert [row["state"] for row in csv.DictReader(f)] == ["done"] * 4


def test_a_process_that_is_killed_leaves_its_shards_to_the_other(made, model_dir, tmp_path):
    process = sharded(made, model_dir, tmp_path, "--devices", "cpu,cpu")
    process.wait_for(lambda: records(tmp_path))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    computing = [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(int(computing[0]), signal.SIGKILL)
    code, told = finished(process)
    assert (code, same(made, tmp_path)) == (0, True), told


def test_workers_come_and_are_killed_and_a_bare_scheduler_is_restarted(made, model_dir, tmp_path):
    port = free_port()
    more = ("--engine", "dask", "--scheduler", f"tcp://127.0.0.1:{port}", "--wait-workers", 120)
    with scheduler(port) as first:
        process = sharded(made, model_dir, tmp_path, *more)
        process.wait_for(lambda: "no worker; waiting up to 120 s" in process.told())
        with worker(port) as one:
            process.wait_for(lambda: records(tmp_path))
            kill(one)
            with worker(port):
                before = len(records(tmp_path))
                process.wait_for(lambda: len(records(tmp_path)) > before)
                kill(first)
                with scheduler(port), worker(port):
                    code, told = finished(process)
    assert (code, same(made, tmp_path)) == (0, True), told
    assert "going on" in told


@pytest.mark.parametrize("lost", every(2, ["workers", "scheduler"]))
def test_nobody_to_compute_is_told_and_ends_the_run(made, model_dir, tmp_path, lost):
    port = free_port()
    more = ("--engine", "dask", "--scheduler", f"tcp://127.0.0.1:{port}", "--wait-workers", 3)
    with scheduler(port) as first, worker(port) as one:
        process = sharded(made, model_dir, tmp_path, *more)
        process.wait_for(lambda: records(tmp_path))
        kill(first if lost == "scheduler" else one)
        code, told = finished(process, 60)
    assert code == 1
    assert "go on with --resume, or wait longer with --wait-workers SECONDS" in told.splitlines()[-1]


def test_a_task_that_fails_names_its_worker(made, model_dir, tmp_path):
    port = free_port()
    (tmp_path / "work").mkdir()
    broken = tmp_path / "broken.tif"
    broken.write_bytes((made / "s2.tif").read_bytes()[:-200_000] + bytes(200_000))
    (tmp_path / "list.csv").write_text(f"{broken}\n")
    with scheduler(port), worker(port):
        words = ("predict", broken, *flags(model_dir), "-o", tmp_path / "mask.tif", "--work", tmp_path / "work")
        done = forked.segearth(
            *words, "--shard-size", 512, "--engine", "dask", "--scheduler", f"tcp://127.0.0.1:{port}"
        )
    assert done.returncode == 1
    assert "(on worker tcp://127.0.0.1:" in done.stderr.splitlines()[-1]


@pytest.mark.thorough
def test_relative_names_are_those_of_who_started_the_run_wherever_workers_were_started(made, model_dir, tmp_path):
    port = free_port()
    words = ("predict", "s2.tif", *flags(os.path.relpath(model_dir, made)))
    direct = forked.segearth(*words, "-d", "cpu", "-o", tmp_path / "direct.tif", cwd=made)
    assert direct.returncode == 0, direct.stderr
    with scheduler(port), worker(port):
        words += ("--shard-size", 512, "--work", os.path.relpath(tmp_path / "work", made), "-o", tmp_path / "mask.tif")
        done = forked.segearth(*words, "--engine", "dask", "--scheduler", f"tcp://127.0.0.1:{port}", cwd=made)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mask.tif").read_bytes() == (tmp_path / "direct.tif").read_bytes()
