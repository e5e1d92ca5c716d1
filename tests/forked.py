"""Processes forked from one that has loaded the libraries: as real as those of `shell`, without seconds of imports.

What counts when Python starts, such as closed streams or HF_HOME, is that of the process that they are forked from.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["open_clip", "fiona", "matplotlib.figure", "segearth_cli.jobs.work_list", __name__])


class Process:
    """A function in a process of its own, in this folder and environment, its streams in files."""

    def __init__(self, act, *arguments, cwd=None, **changes):
        self.folder = Path(mkdtemp(prefix="forked-"))
        how = (os.environ | {"OMP_NUM_THREADS": "1"} | changes, str(cwd or Path.cwd()), str(self.folder))
        self.process = PROCESSES.Process(target=_act, args=(act, arguments, *how))
        self.process.start()
        self.pid = self.process.pid

    def poll(self):
        """The exit code, None while it runs."""
        return self.process.exitcode

    def told(self):
        """What is on its stderr by now."""
        return (self.folder / "stderr").read_text() if (self.folder / "stderr").exists() else ""

    def wait_for(self, condition, seconds=120):
        """Waits until something holds while it runs."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.poll() is None, self.told()
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.005)

    def send(self, number):
        os.kill(self.pid, number)

    def finish(self, seconds=240):
        """The finished process as `shell` has it."""
        self.process.join(seconds)
        assert self.poll() is not None, "it hangs"
        out = (self.folder / "stdout").read_text()
        done = SimpleNamespace(returncode=self.poll(), stdout=out, stderr=self.told())
        shutil.rmtree(self.folder)
        return done


def start(*words, **how):
    """The command line, begun."""
    return Process(_command, *map(str, words), **how)


def segearth(*words, **how):
    """The finished command line."""
    return start(*words, **how).finish()


def _act(act, arguments, environment, cwd, folder):
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT)
        os.dup2(stream, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.fsync = lambda _: None  # as in conftest
    import torch

    torch.set_num_threads(1)
    act(*arguments)


def _command(*words):
    from segearth_cli import cli

    sys.argv = ["segearth", *words]
    try:
        cli.main()  # with its hook for signals that a finaliser swallows
    except SystemExit as e:
        code = e.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
