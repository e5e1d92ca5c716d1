"""Runs to their end, whatever streams and signals they have: documented exit codes, one line, nothing half made.

A process starts for each state of its streams, and runs every command in a child of its own.
"""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
import shell
from noise import save_scene

MODEL = ("-m", "local-dir:model", "--upsampler", "none", "-d", "cpu")
CLASSES = ("-c", "water,roof")
RUNS = {
    "evaluate": ("mask.tif", "label.tif", *CLASSES, "--json", "new.json", "--csv", "new.csv"),
    "inspect": ("scene.tif",),
    "merge": ("run", "-o", "new.tif"),
    "predict": ("scene.tif", *MODEL, *CLASSES, "-o", "new.tif", "--confidence", "sure.tif", "--vector", "gpkg"),
    "preview": ("mask.tif", "-o", "new.png"),
    "vectorize": ("mask.tif", "-o", "new.gpkg"),
}
SIGNALS = {"merge": signal.SIGTERM, "predict": signal.SIGHUP, "preview": signal.SIGINT, "vectorize": signal.SIGTERM}
EVERY = """
import json, os, shutil, signal, sys, threading, time
from pathlib import Path
from segearth_cli import cli
from segearth_cli.prediction import predictor_for

runs, signals = json.loads(sys.argv[1]), json.loads(sys.argv[2])

def end_midway(number):  # as soon as something is written, or soon
    before = set(os.listdir())
    for _ in range(400):
        if any(name not in before for name in os.listdir()):
            break
        time.sleep(0.002)
    os.kill(os.getpid(), number)

found = {}
for name, words in runs.items():
    folder = Path("of", name)
    shutil.copytree("place", folder)
    child = os.fork()
    if not child:
        os.chdir(folder)
        sys.argv = ["segearth", name, *words]
        if name in signals:
            threading.Thread(target=end_midway, args=[signals[name]], daemon=True).start()
        cli.main()
    found[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
Path("codes.json").write_text(json.dumps(found))
os._exit(0)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, model_dir):
    """A folder with inputs of every command, a finished run among them."""
    folder = tmp_path_factory.mktemp("runs") / "place"
    folder.mkdir()
    shutil.copytree(model_dir, folder / "model")
    save_scene(folder / "scene.tif", 80, 90)
    with rasterio.open(folder / "scene.tif") as scene:
        form = scene.profile | {"count": 1, "photometric": "MINISBLACK"}
        bright = scene.read(1, out_dtype="uint8") // 128
    for name, codes in (("mask.tif", bright), ("label.tif", bright.T.reshape(bright.shape))):
        with rasterio.open(folder / name, "w", **form) as ds:
            ds.write(codes, 1)
    words = ("predict", "scene.tif", *MODEL, *CLASSES, "--work", "run", "-o", "m.tif", "-q")
    done = shell.segearth(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    for left in folder.glob("m.*"):
        left.unlink()
    return folder


def ended(place, tmp_path, redirected="", runs=RUNS, signals=()):
    """Exit codes of runs by command, and what a process of these streams said."""
    (tmp_path / "place").symlink_to(place)
    line = f'"$@" {redirected}'
    words = ["bash", "-c", line, "-", sys.executable, "-c", EVERY, json.dumps(runs), json.dumps(dict(signals))]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=shell.environment())
    assert "Traceback" not in done.stderr
    assert "segearth: " not in done.stdout
    return json.loads((tmp_path / "codes.json").read_text()), done


def made(place, folder):
    """What a command left in its folder, by name."""
    before = {path.relative_to(place) for path in place.rglob("*")}
    return sorted(str(path) for found in Path(folder).rglob("*") if (path := found.relative_to(folder)) not in before)


STATES = {">&- 2>&- <&-": {1}, "| head -1": {0, 141}}  # full ones: test_faults.py


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_a_run_ends_with_its_exit_code_whatever_streams_it_has(place, tmp_path, state):
    codes, _ = ended(place, tmp_path, state)
    assert {name: code for name, code in codes.items() if code not in STATES[state]} == {}
    for name in codes:
        assert not [one for one in made(place, tmp_path / "of" / name) if ".part" in one], name


@pytest.mark.slow
def test_a_signal_midway_leaves_nothing_half_made(place, tmp_path):
    codes, done = ended(place, tmp_path, runs={name: RUNS[name] for name in SIGNALS}, signals=SIGNALS)
    for name, number in SIGNALS.items():
        assert codes[name] in (0, 128 + number), (name, codes, done.stderr)
        left = made(place, tmp_path / "of" / name)
        assert not [one for one in left if ".part" in one or ".old" in one or ".commit" in one], (name, left)
