"""What a process costs, measured by a small one that starts it: the peak of a child holds that of its parent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STARTER = """
import json, os, subprocess, sys, time
started = time.monotonic()
process = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(process.pid, 0)
seconds = time.monotonic() - started
figures = [os.waitstatus_to_exitcode(status), seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]
with open(sys.argv[1], "w") as file:
    json.dump(figures, file)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took."""

    code: int
    """Its exit code."""
    seconds: float
    """On the clock."""
    cpu_seconds: float
    """Of user and system."""
    peak_bytes: int
    """Peak of the resident memory."""
    stdout: str
    """What it printed."""
    stderr: str
    """What it said."""


def run(command: Sequence[str | Path], **options: Any) -> Cost:
    """Runs a command to its end. options: of subprocess.run."""
    with tempfile.NamedTemporaryFile("r") as told:
        start = [sys.executable, "-I", "-S", "-c", _STARTER, told.name, *map(str, command)]
        done = subprocess.run(start, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, **options)
        code, seconds, cpu_seconds, peak_bytes = json.load(told)
    return Cost(code, seconds, cpu_seconds, peak_bytes, done.stdout, done.stderr)


def cost(words: list[str], folder: Path, code: Path | None = None) -> dict[str, float]:
    """CPU seconds and peak GB of a process of Python with one thread, run in a folder that holds its cache.

    code: the tree whose packages it imports; None = those that are installed. Exits with its last words if it fails.
    """
    env = os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    env |= {"PYTHONPATH": str(code)} if code else {}
    used = run([sys.executable, *words], env=env, cwd=folder)
    if used.code:
        raise SystemExit(f"python {' '.join(words)} failed: {used.stderr[-500:]}")
    return {"cpu_seconds": used.cpu_seconds, "peak_gb": used.peak_bytes / 1e9}
