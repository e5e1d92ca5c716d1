"""Runs to their end, whatever streams, home and signals they have: documented exit codes, one line, nothing half made.

A process starts for each state of its streams, and runs every command in a child of its own.
"""

import json
import signal
import subprocess
import sys

import pytest
import shell
from runs import RUNS, fill, made

SIGNALS = {
    "merge": signal.SIGTERM,
    "merge --format stac": signal.SIGHUP,
    "predict": signal.SIGHUP,
    "preview": signal.SIGINT,
    "vectorize": signal.SIGTERM,
    "calibrate": signal.SIGINT,
    "train-upsampler": signal.SIGTERM,
    "reproduce": signal.SIGHUP,
    "demo": signal.SIGINT,
    "download": signal.SIGHUP,
}
EVERY = """
import gc, json, os, pwd, shutil, signal, sys, threading, time
from pathlib import Path
import runs as known
from segearth_cli import cli
from segearth_cli.prediction import predictor_for
import segearth_cli.training

runs, signals, homeless = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
if homeless:  # and no entry in the list of users
    def nobody(_):
        raise KeyError("uid not found")
    pwd.getpwuid = nobody

def end_midway(number):  # as soon as something is written, or soon
    before = set(os.listdir())
    for _ in range(400):
        if any(name not in before for name in os.listdir()):
            break
        time.sleep(0.002)
    os.kill(os.getpid(), number)

gc.freeze()  # else every child copies what its collector looks at
found = {}
for name, words in runs.items():
    folder = Path("of", name)
    shutil.copytree("place", folder)
    child = os.fork()
    if not child:
        os.chdir(folder)
        known.know_authors("authors.ckpt")
        sys.argv = ["segearth", *words]
        if name in signals:
            threading.Thread(target=end_midway, args=[signals[name]], daemon=True).start()
        cli.main()
    found[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
Path("codes.json").write_text(json.dumps(found))
os._exit(0)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, model_dir, wide_model_dir):
    folder = tmp_path_factory.mktemp("runs") / "place"
    folder.mkdir()
    fill(folder, model_dir, wide_model_dir)
    return folder


def ended(place, tmp_path, redirected="", runs=RUNS, signals=(), home=None):
    """Exit codes of runs by command, and what a process of these streams said; home: "" = none, None = the tester's."""
    (tmp_path / "place").symlink_to(place)
    line = f'"$@" {redirected}'
    asked = [json.dumps(runs), json.dumps(dict(signals)), "homeless" if home == "" else ""]
    words = ["bash", "-c", line, "-", sys.executable, "-c", EVERY, *asked]
    environment = shell.environment(PYTHONPATH=f"{shell.ROOT}:{shell.ROOT / 'tests'}", TMPDIR=str(tmp_path))
    if home is None:
        environment["SEGEARTH_CACHE"] = str(tmp_path / "cache")
    else:
        for name in ("SEGEARTH_CACHE", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME", "HOME"):
            environment.pop(name, None)
        environment |= {"HOME": home} if home else {}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert "Traceback" not in done.stderr
    assert "segearth: " not in done.stdout
    return json.loads((tmp_path / "codes.json").read_text()), done


# /proc takes no folder, so it is a home that cannot be written, even for root
STATES = {">&- 2>&- <&-": ({1}, ""), "| head -1": ({0, 141}, "/proc")}


@pytest.mark.thorough
@pytest.mark.parametrize("state", STATES)
def test_a_run_ends_with_its_exit_code_whatever_streams_and_home_it_has(place, tmp_path, state):
    accepted, home = STATES[state]
    runs = {name: words for name, words in RUNS.items() if home == "" or name != "download"}  # which fills the cache
    codes, done = ended(place, tmp_path, state, runs, home=home)
    assert all(line.startswith("segearth: ") for line in done.stderr.splitlines()), done.stderr
    assert {name: code for name, code in codes.items() if code not in accepted} == {}, done.stderr
    for name in codes:
        assert not [one for one in made(place, tmp_path / "of" / name) if ".part" in one], name


@pytest.mark.thorough
def test_a_run_that_cannot_tell_its_results_has_failed(place, tmp_path):
    light = {name: RUNS[name] for name in ("evaluate", "info", "inspect", "merge", "preview", "vectorize", "predict")}
    codes, done = ended(place, tmp_path, ">/dev/full", {**light, "models": ("models",)})
    assert set(codes.values()) == {1}, (codes, done.stderr)
    assert done.stderr.count("segearth: stdout or a temporary file (TMPDIR): No space left on device") == len(codes)


@pytest.mark.thorough
def test_a_signal_midway_leaves_nothing_half_made(place, tmp_path):
    runs = {**RUNS, "demo": ("demo", "-o", "new")}
    codes, done = ended(place, tmp_path, runs={name: runs[name] for name in SIGNALS}, signals=SIGNALS)
    for name, number in SIGNALS.items():
        assert codes[name] in (0, 128 + number), (name, codes, done.stderr)
        left = made(place, tmp_path / "of" / name)
        assert not [one for one in left if ".part" in one or ".old" in one or ".commit" in one], (name, left)
