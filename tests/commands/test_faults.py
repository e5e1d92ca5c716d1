"""What the system may do to a command: full disks, closed streams, signals, no home. One line, a documented code."""

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

SEGEARTH = f"{sys.executable} -m segearth_cli"
CLASSES = "--classes water,roof"


@pytest.fixture
def here(tmp_path):
    """A folder with a mask and a label."""
    rng = np.random.default_rng(0)
    for name in ("mask.tif", "label.tif"):
        with rasterio.open(
            tmp_path / name, "w", driver="GTiff", count=1, height=400, width=400, dtype="uint8", crs="EPSG:32632"
        ) as ds:
            ds.write(rng.integers(0, 2, (1, 400, 400)).astype(np.uint8))
    return tmp_path


@pytest.fixture
def shell(here):
    """Runs a line of the shell in that folder: (code, out, err); $S is segearth."""

    def run(line, **changes):
        environment = {**os.environ, "S": SEGEARTH, **changes}
        environment = {name: value for name, value in environment.items() if value is not None}
        done = subprocess.run(["bash", "-c", line], cwd=here, env=environment, capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.slow
@pytest.mark.parametrize("command", ["models", "--help", "--version", "evaluate mask.tif label.tif -q " + CLASSES])
@pytest.mark.parametrize(("stdout", "said"), [(">/dev/full", "No space left"), (">&-", "Bad file descriptor")])
def test_an_answer_that_cannot_be_given_is_one_line_and_exit_code_1(shell, command, stdout, said):
    code, out, err = shell(f"$S {command} {stdout}")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert said in err


@pytest.mark.slow
@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_without_stderr_no_error_line_reaches_stdout(shell, stderr):
    assert shell(f"$S evaluate no.tif label.tif {CLASSES} {stderr}") == (1, "", "")


@pytest.mark.slow
def test_closed_streams_do_not_end_up_in_a_file(shell, tmp_path):
    code, _, err = shell("$S vectorize mask.tif -o a.geojson -q >&- <&- 2>&-")
    assert (code, err) == (1, "")
    assert (tmp_path / "a.geojson").read_text().startswith("{")


def test_a_reader_that_leaves_is_no_error(shell):
    code, _, err = shell("set -o pipefail; $S --help | head -1")
    assert code in (0, 141)
    assert err == ""


def test_a_user_without_a_home_has_a_cache(shell):
    script = "import os, pwd; pwd.getpwuid = lambda _: (_ for _ in ()).throw(KeyError()); "
    script += "from segearth_cli import cache; print(cache.cache_dir())"
    code, out, err = shell(
        f"{sys.executable} -c '{script}'", HOME=None, SEGEARTH_CACHE=None, XDG_CACHE_HOME=None, TMPDIR="/tmp"
    )
    assert (code, err) == (0, "")
    assert out.startswith("/tmp/segearth-")


COMMANDS = {
    "evaluate --json": ("evaluate mask.tif label.tif -q --classes water,roof", "--json out.json"),
    "evaluate --csv": ("evaluate mask.tif label.tif -q --classes water,roof", "--csv out.csv"),
    "evaluate --png": ("evaluate mask.tif label.tif -q --classes water,roof", "--png out.png"),
    **{f"vectorize .{kind}": ("vectorize mask.tif -q", f"-o out.{kind}") for kind in ("gpkg", "shp")},
    "vectorize, temporary folder": ("vectorize mask.tif -q --min-area 9px", "-o out.gpkg"),
}


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 64])  # KiB
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_one_line_and_the_old_files_stay(here, segearth, monkeypatch, tmp_path, command, size):
    monkeypatch.chdir(here)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.StringIO())  # files that pytest captures into are limited too
    start, end = COMMANDS[command]
    kind = Path(end.split()[1]).suffix
    names = [tmp_path / name for name in (["out.shp", "out.shx", "out.dbf"] if kind == ".shp" else [f"out{kind}"])]
    for path in names:
        path.write_text("old")
    before = sorted(path.name for path in tmp_path.iterdir())
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size << 10, former[1]))
    try:
        code = segearth(*start.split(), *end.split(), "--overwrite").code
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    if code == 0:  # small enough
        assert all(path.read_bytes() != b"old" for path in names)
    else:
        assert (code, sys.stderr.getvalue().count("\n")) == (1, 1), sys.stderr.getvalue()
        assert [path.read_text() for path in names] == ["old"] * len(names)
        assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGHUP, 129, "hung up"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_leaves_nothing(tmp_path, number, code, line):
    script = (
        "import sys, time; from segearth_cli import cli, files; from pathlib import Path\n"
        "def work(*a, **k):\n"
        "    with files.replacing(Path('out.txt')) as temporary:\n"
        "        temporary.write_text('half'); Path('begun').touch(); time.sleep(60)\n"
        "cli.app = work; cli.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "begun").exists():
        time.sleep(0.05)
    process.send_signal(number)
    assert process.communicate()[1] == f"segearth: {line}\n"
    assert process.returncode == code
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


def test_a_fault_of_our_own_is_one_line_and_verbose_tells_more(shell, tmp_path):
    script = (
        "import sys\nfrom segearth_cli import cli\ndef work(*a, **k): raise KeyError('x')\ncli.app = work; cli.main()"
    )
    (tmp_path / "broken.py").write_text(script)
    code, _, err = shell(f"{sys.executable} broken.py")
    assert (code, len(err.splitlines())) == (70, 1)
    done = subprocess.run(
        [sys.executable, "broken.py", "--verbose"], cwd=tmp_path, capture_output=True, text=True, env={**os.environ}
    )
    assert "Traceback" in done.stderr


WINDOWS = """
import atexit, json, os, signal, sys, time
import numpy, rasterio, typer  # once for all
from segearth_cli import __main__ as way_in

class Loading:
    def find_spec(self, name, *_):
        if name == "segearth_cli.cli":
            os.kill(os.getpid(), number)
            time.sleep(0.1)

class Telling:
    said = False
    def write(self, text):
        if not self.said:
            self.said = True
            os.kill(os.getpid(), number)
        return os.write(2, text.encode())
    def flush(self):
        pass

found = {}
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    for window in ("loading", "telling", "leaving"):
        os.write(2, f"{window} {number:d}: ".encode())
        child = os.fork()
        if not child:
            sys.argv = ["segearth", *(["inspect", "no.tif"] if window == "telling" else ["--version"])]
            if window == "loading":
                sys.meta_path.insert(0, Loading())
            elif window == "telling":
                sys.stderr = Telling()
            else:
                atexit.register(lambda: (os.kill(os.getpid(), number), time.sleep(0.1)))
            way_in.main()
        found[f"{window} {number:d}"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(found))
"""
SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}


@pytest.mark.slow
def test_a_signal_has_its_line_from_the_first_moment_to_the_last(tmp_path):
    done = subprocess.run([sys.executable, "-c", WINDOWS], cwd=tmp_path, capture_output=True, text=True, check=True)
    windows = [(window, number) for number in SAID for window in ("loading", "telling", "leaving")]
    assert json.loads(done.stdout.splitlines()[-1]) == {f"{window} {n:d}": 128 + n for window, n in windows}
    assert done.stderr.splitlines() == [f"{window} {n:d}: segearth: {SAID[n]}" for window, n in windows]


SWALLOWED = """
import os, signal, sys, time

class Finalised:
    def __del__(self):  # what is raised here Python only prints
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

class Paths:
    def __iter__(self):
        Finalised()
        time.sleep(60)
        return iter(())

sys.stdin, sys.argv = Paths(), ["segearth", "vectorize", "-"]
from segearth_cli.cli import main
main()
"""


@pytest.mark.slow
def test_a_signal_that_falls_into_a_finaliser_still_ends_the_command(tmp_path):
    done = subprocess.run([sys.executable, "-c", SWALLOWED], cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (143, "segearth: terminated\n")
