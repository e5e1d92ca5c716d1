"""What a shard costs beside its pixels: CPU time of all processes, by who hands shards out and where they are kept.

Each shard holds one patch of data, for a model that takes a mean: what is left is claiming, opening, writing,
recording, handing out. A run of 8 shards is taken off; nothing is joined. `--engine`: local, devices, dask or bucket
(an S3 server here, by moto, whose own time is not counted); `--scenes 200` makes the shards a manifest of 200 scenes,
each joined.

    python -m benchmarks.shards
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from benchmarks.processes import cost

SIDE = 512  # px of a shard
PATCH = 64  # px of a side of what holds data
MODEL = """
import numpy as np

def brightness(classes):
    def of(chips):
        grey = np.asarray(chips, np.float32).mean(1, keepdims=True) / 255
        return -np.abs(grey - np.linspace(0, 1, len(classes), dtype=np.float32)[:, None, None]) * 20
    return of

brightness.window = 64
"""
ENGINES = ("local", "devices", "dask", "bucket")
KEYS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "us-east-1"}
SERVER = """
import logging, sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
logging.getLogger("werkzeug").setLevel(logging.ERROR)
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=True)
"""


def save_scene(path: Path, shards: int) -> None:
    """A sparse scene of a row of shards or several, each with a patch of data."""
    across = min(shards, 32)
    rows = -(-shards // across)
    with rasterio.open(
        path, "w", driver="GTiff", height=rows * SIDE, width=across * SIDE, count=3, dtype="uint8", nodata=0,
        tiled=True, blockxsize=SIDE, blockysize=SIDE, sparse_ok=True, compress="deflate", photometric="RGB",
        crs="EPSG:32633", transform=from_origin(400_000, 5_000_000, 0.3, 0.3),
    ) as ds:  # fmt: skip
        patch = np.random.default_rng(0).integers(1, 256, (3, PATCH, PATCH)).astype(np.uint8)
        for number in range(shards):
            row, col = divmod(number, across)
            ds.write(patch, window=Window(col * SIDE + PATCH, row * SIDE + PATCH, PATCH, PATCH))


def words(folder: Path, engine: str, shards: int, scenes: int) -> list[str]:
    """The words of a run of new scenes in a folder."""
    name = f"{engine}-{shards}-{scenes}"
    (folder / name).mkdir()
    if scenes == 1:
        save_scene(folder / name / "scene.tif", shards)
        given = [f"{name}/scene.tif", "--shard-index", "0", "--shard-count", "1"]
    else:
        for number in range(scenes):
            save_scene(folder / name / f"s{number}.tif", shards // scenes)
        (folder / name / "list.txt").write_text("\n".join(f"{name}/s{n}.tif" for n in range(scenes)) + "\n")
        given = ["--manifest", f"{name}/list.txt", "-o", f"{name}/masks"]
    work = f"s3://maps/{name}" if engine == "bucket" else f"{name}/work"
    return [
        *("-m", "segearth_cli", "predict", *given, "--work", work, "--shard-size", str(SIDE), "-q"),
        *(
            "-c",
            "dark,medium,bright",
            "--background",
            "none",
            "-m",
            "python:mine.py:brightness",
            "--stride",
            str(PATCH),
        ),
    ]


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended in the end."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def seconds(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    """CPU seconds that processes and their children have taken so far."""
    found = 0.0
    for process in processes:
        for place in [Path(f"/proc/{process.pid}"), *_children(process.pid)]:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            found += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return found


def _children(pid: int) -> list[Path]:
    below = " ".join(place.read_text() for place in Path(f"/proc/{pid}/task").glob("*/children")).split()
    return [place for child in below for place in [Path(f"/proc/{child}"), *_children(int(child))]]


def measure(folder: Path, engine: str, shards: int, scenes: int) -> tuple[float, float]:
    """CPU seconds of all that take part but a server of S3, and seconds on the clock."""
    given, helpers = words(folder, engine, shards, scenes), []
    with ExitStack() as stack:
        if engine == "devices":
            given += ["--devices", "cpu,cpu"]
        if engine == "dask":
            port = _free_port()
            address = f"tcp://127.0.0.1:{port}"
            quiet = ("--no-dashboard", "--no-show")
            helpers.append(stack.enter_context(running(
                "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), *quiet
            )))  # fmt: skip
            helpers.append(stack.enter_context(running(
                "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard", "--local-directory",
                str(folder),
            )))  # fmt: skip
            given += ["--engine", "dask", "--scheduler", address, "--precision", "fp32"]
        if engine == "bucket":
            _serve(stack)
        began = time.perf_counter()
        used = cost(given, folder)["cpu_seconds"] + seconds(helpers)
        return used, time.perf_counter() - began


def _serve(stack: ExitStack) -> None:
    import boto3

    port = _free_port()
    os.environ.update(KEYS, AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
    stack.enter_context(running("-c", SERVER, str(port)))
    for _ in range(240):
        time.sleep(0.25)
        with socket.socket() as s:
            if not s.connect_ex(("127.0.0.1", port)):
                break
    boto3.client("s3").create_bucket(Bucket="maps")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def main() -> None:
    """Prints a line an engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", action="append", choices=ENGINES)
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--scenes", type=int, default=1)
    asked = parser.parse_args()
    few = max(8, asked.scenes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mine.py").write_text(MODEL)
        for engine in asked.engine or ENGINES:
            base, _ = measure(folder, engine, 8, 1)
            used, clock = measure(folder, engine, max(asked.shards, few), asked.scenes)
            each = 1000 * (used - base) / (max(asked.shards, few) - 8)
            told = f"{asked.shards:,} in {asked.scenes:,} scenes: {used:.1f} s of CPU, {clock:.0f} s on the clock"
            print(f"{engine}: {each:.1f} ms of CPU a shard ({told}; 8 shards: {base:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
