"""The scripts of docs/slurm as they are printed, on a real Slurm of one node."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import noise
import pytest
import shell
import slurm_node
from slurm_node import asked, state, wait_for

SCRIPTS = Path(__file__).parents[2] / "docs" / "slurm"
pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, model_dir):
    """The environment of a user who has segearth on the path and the tiny model for a default."""
    with slurm_node.node(tmp_path_factory.mktemp("slurm") / "node") as env:
        own = {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}", "SEGEARTH_MODEL": f"local-dir:{model_dir}"}
        yield shell.environment(**env | own)


@pytest.fixture
def place(tmp_path):
    """A folder with a scene that takes a while, and the scripts."""
    noise.save_scene(tmp_path / "scene.tif", 2100, 1500, seed=1)
    for script in SCRIPTS.glob("*.sh"):
        shutil.copy(script, tmp_path)
    return tmp_path


def direct(place, env):
    """The mask of one process."""
    words = shell.command("predict", "scene.tif", "-c", "water|river,building,road", "-o", "direct.tif")
    asked(env, *words, cwd=place)
    return (place / "direct.tif").read_bytes()


def records(place):
    return [path for path in (place / "run").rglob("r*c*.json") if not path.name.startswith(".")]


def told(place):
    return "\n".join(path.read_text() for path in sorted(place.glob("*.log")))


def restarts(env, job):
    words = asked(env, "scontrol", "--oneliner", "show", "job", job).split()
    return sum(int(word.split("=")[1]) for word in words if word.startswith("Restarts="))


def test_tasks_that_are_stopped_and_killed_come_again_and_the_mask_is_that_of_one_process(cluster, place):
    last = asked(cluster, "sh", "submit.sh", "--array=0-3", cwd=place)
    job = str(int(last) - 2)
    wait_for(lambda: records(place))
    running = asked(cluster, "squeue", "--noheader", "--states=R", "--format=%i", f"--jobs={job}").split()
    words = ("scancel", "--batch", "--signal=TERM", running[0])  # what --signal=B:TERM@90 sends
    with subprocess.Popen(words, env=cluster):  # it goes on to ask for half a minute, when all may be done
        wait_for(lambda: restarts(cluster, job) >= 1)
        wait_for(lambda: computing(place))
        os.kill(computing(place)[0], signal.SIGKILL)
    wait_for(lambda: state(cluster, last) == ["COMPLETED"])
    assert state(cluster, job) == ["COMPLETED"], told(place)
    assert restarts(cluster, job) >= 2
    assert (place / "mask.tif").read_bytes() == direct(place, cluster)
    assert (place / "mask.gpkg").exists()


def computing(place):
    """The processes of segearth that compute shards of this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            here = (process / "cwd").readlink() == place
        except OSError:
            continue
        if here and b"--shard-count" in words and words[0].endswith(b"python"):
            found.append(int(process.name))
    return sorted(found)


def test_a_task_that_is_cancelled_does_not_come_again_and_nothing_follows(cluster, place):
    last = int(asked(cluster, "sh", "submit.sh", "--array=0-0", cwd=place))
    wait_for(lambda: computing(place))
    asked(cluster, "scancel", f"{last - 2}_0")
    wait_for(lambda: state(cluster, str(last)) == ["CANCELLED"])
    assert (state(cluster, str(last - 2)), restarts(cluster, str(last - 2))) == (["CANCELLED"], 0)
    assert not (place / "mask.tif").exists()


def test_a_task_that_fails_does_not_come_again_and_nothing_follows(cluster, place):
    (place / "scene.tif").write_bytes(b"no scene")
    last = int(asked(cluster, "sh", "submit.sh", "--array=0-0", cwd=place))
    wait_for(lambda: state(cluster, str(last)) == ["CANCELLED"])
    assert (state(cluster, str(last - 2)), restarts(cluster, str(last - 2))) == (["FAILED"], 0)
    assert "scene.tif" in told(place)


@pytest.mark.thorough
def test_a_node_that_fails_gives_its_task_back(cluster, place):
    job = asked(cluster, "sbatch", "--parsable", "--array=0-0", "predict.sh", cwd=place)
    wait_for(lambda: computing(place))
    node = asked(cluster, "sinfo", "--noheader", "--format=%n")
    asked(cluster, "scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    wait_for(lambda: restarts(cluster, job) == 1)
    asked(cluster, "scontrol", "update", f"nodename={node}", "state=resume")
    wait_for(lambda: state(cluster, job) == ["COMPLETED"])
    assert not list((place / "run").rglob("*.part*"))
