"""The command line in a process of its own, as a shell runs it; conftest's `segearth` is faster."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def environment(**changes):
    """The environment of a process that imports this tree, and computes with one thread as the tests do."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | changes


def command(*arguments, launcher=(sys.executable,)):
    """The words that start `segearth` with these arguments; launcher: what starts Python instead."""
    return [*launcher, "-m", "segearth_cli", *map(str, arguments)]


def segearth(*arguments, launcher=(sys.executable,), cwd=None, **changes):
    """The finished process of `segearth`; changes: to its environment."""
    done = command(*arguments, launcher=launcher)
    return subprocess.run(done, capture_output=True, text=True, cwd=cwd, env=environment(**changes), check=False)


def python(code, *arguments):
    """The finished process of some lines of Python; arguments: its `sys.argv[1:]`."""
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
