"""Memory that the system refuses, when the command line is loaded and while a command runs: one line, no output."""

import json
import subprocess
import sys

import pytest
import shell
from runs import RUNS, fill, made

REFUSED = """
import gc, json, os, resource, shutil, sys
from pathlib import Path
import fiona, matplotlib.figure, pyogrio, shapely
import runs as known
from segearth_cli import cli
from segearth_cli.prediction import predictor_for

gc.freeze()  # else every child copies what its collector looks at
place, found = sys.argv[1], {}
for name, words in json.loads(sys.argv[2]).items():
    for more in json.loads(sys.argv[3])[name]:
        folder = Path(f"{name} {more}")
        shutil.copytree(place, folder)
        child = os.fork()
        if not child:
            os.dup2(os.open(f"{folder}.err", os.O_WRONLY | os.O_CREAT), 2)
            os.chdir(folder)
            sys.argv = ["segearth", *words]
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + (more << 20), resource.RLIM_INFINITY))
            cli.main()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found[f"{name} {more}"] = code, Path(f"{folder}.err").read_text()
print(json.dumps(found))
"""
# MiB more than the libraries take; with 24 a model has begun to work
MORE = {"calibrate": (1, 24), "evaluate": (1,), "merge": (1,), "predict": (1, 24), "vectorize": (1,)}


@pytest.mark.thorough
def test_memory_that_is_refused_midway_is_one_line_and_nothing_is_left(tmp_path, model_dir, wide_model_dir):
    place = tmp_path / "place"
    place.mkdir()
    fill(place, model_dir, wide_model_dir)
    runs = json.dumps({name: RUNS[name] for name in MORE})
    words = [sys.executable, "-c", REFUSED, str(place), runs, json.dumps(MORE)]
    environment = shell.environment(PYTHONPATH=f"{shell.ROOT}:{shell.ROOT / 'tests'}")
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment, check=True)
    ended = json.loads(done.stdout.splitlines()[-1])
    told = {}
    for name, (code, err) in ended.items():
        lines = [line for line in err.splitlines() if line.startswith("segearth: ")]
        left = [one for one in made(place, tmp_path / name) if not one.startswith("run/")]
        if code == 0:
            continue
        told[name.rsplit(" ", 1)[0]] = err
        assert (code, left) == (1, []), (name, code, err)
        assert "out of memory" in lines[-1] or "no more threads" in lines[-1], (name, err)  # a thread takes some too
        assert "Traceback" not in err, (name, err)
    assert set(told) == set(MORE)  # each was refused some


@pytest.mark.slow
@pytest.mark.parametrize("mebibytes", [60, 200, 700])
def test_memory_that_is_refused_while_the_command_line_is_loaded_is_one_line(tmp_path, mebibytes):
    words = shell.command("predict", "no.tif", "-c", "water", "-q", "-o", "out.tif")
    line = ["bash", "-c", f'ulimit -v {mebibytes << 10}; exec "$@"', "-", *words]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env=shell.environment(), check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert [*tmp_path.iterdir()] == []
