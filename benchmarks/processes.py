"""What a process of Python costs, with one thread and a cache of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def cost(words: list[str], folder: Path, code: Path | None = None) -> dict[str, float]:
    """CPU seconds and peak GB of a process of Python, run in a folder that holds its cache.

    code: the tree whose packages it imports; None = those that are installed. Exits with its last words if it fails.
    """
    env = os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    env |= {"PYTHONPATH": str(code)} if code else {}
    with (folder / "stderr.txt").open("w+b") as said:
        process = subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, env=env,
            cwd=folder,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            said.seek(0)
            raise SystemExit(f"python {' '.join(words)} failed: {said.read().decode(errors='replace')[-500:]}")
    return {"cpu_seconds": used.ru_utime + used.ru_stime, "peak_gb": used.ru_maxrss * 1024 / 1e9}
