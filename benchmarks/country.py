"""How a run grows with its shards, to hundreds of thousands: list, claims, store, resume, planning and joining.

Shards are copies of one small tile, without a model; list, store, claims, records and joining are the real ones. Each
stage is a process of its own. What is written is not waited for (fsync is counted, not called).
`python -m benchmarks.country --shards 2000 20000`; with `--filled` records are written without the list, so that a
whole country can be resumed, planned and joined. docs/country.md says what came out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

from benchmarks import processes, report

SIDE = 512  # pixels of a shard: the smallest there is
LINKS = 60_000  # names of one file, of which some file systems allow 65,000
OPTIONS = ("-c", "water,building", "-m", "mini", "--upsampler", "none", "-d", "cpu", "--precision", "fp32")
WORK = ("--work", "run", "--shard-size", str(SIDE))
SHARE = ("--shard-index", "0", "--shard-count", "1")  # computes all and joins nothing
ONE = ("--shard-index", "0", "--shard-count", "1000000")  # makes the folder
STAGES = {
    "begin": ("predict", "scene.tif", *OPTIONS, *WORK, *ONE, "-q"),
    "list": ("predict", "scene.tif", *OPTIONS, *WORK, *SHARE, "-q"),
    "resume": ("predict", "scene.tif", *OPTIONS, *WORK, *SHARE, "-q"),
    "share": ("predict", "scene.tif", *OPTIONS, *WORK, "--shard-index", "0", "--shard-count", "1000", "-q"),
    "dry run": ("predict", "scene.tif", *OPTIONS, *WORK, "--resume", "--dry-run"),
    "vrt": ("merge", "run", "-q"),
    "stac": ("merge", "run", "--format", "stac", "-o", "collection", "-q"),
}
COUNTED = ("open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "os.link", "fcntl.flock")


def scene(path: Path, shards: int) -> None:
    """A sparse scene of about so many shards in a square."""
    side = round(math.sqrt(shards)) * SIDE
    with rasterio.open(
        path, "w", driver="GTiff", height=side, width=side, count=3, dtype="uint8", tiled=True, blockxsize=SIDE,
        blockysize=SIDE, sparse_ok=True, photometric="RGB", crs="EPSG:3035",
        transform=from_origin(4_000_000, 3_000_000, 0.5, 0.5),
    ):  # fmt: skip
        pass


def tile(path: Path) -> None:
    """A mask of one shard: fields of a few classes, packed."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, (SIDE // 32, SIDE // 32), np.uint8).repeat(32, 0).repeat(32, 1)
    with rasterio.open(
        path, "w", driver="GTiff", height=SIDE, width=SIDE, count=1, dtype="uint8", nodata=255, compress="deflate",
        tiled=True, blockxsize=SIDE, blockysize=SIDE,
    ) as ds:  # fmt: skip
        ds.write(codes[None])


def fill() -> None:
    """Records all shards of a run that was begun as done, each a link to the tile."""
    from segearth_cli.cache import sha256
    from segearth_cli.jobs import open_ledger, typed
    from segearth_cli.jobs.documents import Record

    ledger, source, digest = open_ledger(Path("run")), Path("tile.tif"), sha256(Path("tile.tif"))
    for number, shard in enumerate(ledger.shards):
        if number % LINKS == 0:
            source = Path(f"tile{number}.tif")
            shutil.copyfile("tile.tif", source)
        with ledger.receiving(shard) as outputs:
            outputs.mask.unlink(missing_ok=True)
            os.link(source, outputs.mask)
        record = Record(
            shard.name, ledger.hash, "done", shard.window, {outputs.mask.name: digest}, {"0": SIDE**2}, 1, 1.0, 0.0
        )
        outputs.mask.with_name(f"{shard.name}.json").write_text(typed.write(record.sealed()), encoding="utf-8")


def of_one_tile(path: Path) -> Any:
    """A pool that computes shards by copying a tile, under their claims, and records them."""
    from segearth_cli.cache import sha256
    from segearth_cli.files import replacing
    from segearth_cli.jobs.pool import Alone, Answer, Item
    from segearth_cli.jobs.run_folder import COMPLETE
    from segearth_cli.prediction import Measured

    data, digest = path.read_bytes(), sha256(path)

    class OfOneTile(Alone):
        unit = "shard"

        def answer(self) -> tuple[Item, Answer]:
            item, work, _ = self._todo.popleft()
            ledger, shard = work.ledger, item.shard
            with ledger.store.claim(shard.name, wait=item.wait) as mine:
                if not mine:
                    return item, None
                if (found := ledger.look(shard)).state in COMPLETE:
                    return item, found.state
                with ledger.receiving(shard) as outputs:
                    with replacing(outputs.mask, outputs.temporary) as temporary:
                        temporary.write_bytes(data)
                    name = outputs.mask.name
                return item, ledger.write(shard, Measured({0: SIDE**2}, 1, 1.0, 0.0), {name: digest})

    return OfOneTile


def stage(name: str) -> None:
    """Runs one stage in this process and prints what it took beside its imports, which `processes.run` would count."""
    from segearth_cli import cli, jobs

    calls: Counter[str] = Counter()
    setattr(os, "fsync", lambda _: calls.update(["fsync"]))  # noqa: B010 - mypy
    if name == "fill":
        fill()
        os._exit(0)
    if name == "list":
        setattr(jobs, "Alone", of_one_tile(Path("tile.tif")))  # noqa: B010 - mypy
    import segearth_cli.jobs.merge
    import segearth_cli.jobs.stac
    import segearth_cli.jobs.work_list
    import segearth_cli.prediction.scene_to_mask  # noqa: F401 - not counted: imports

    sys.addaudithook(lambda event, _: calls.update([event] if event in COUNTED else []))
    for called in ("stat", "lstat"):
        real = getattr(os, called)
        setattr(os, called, lambda *a, _real=real, _called=called, **k: (calls.update([_called]), _real(*a, **k))[1])
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    memory = before.ru_maxrss
    sys.argv = ["segearth", *STAGES[name]]
    code = cli.run()
    after = resource.getrusage(resource.RUSAGE_SELF)
    io = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    figures = {
        "code": code,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "seconds": time.perf_counter() - started,
        "calls": calls.total(),
        "megabytes_read": int(io["rchar"]) / 1e6,
        "megabytes_written": int(io["wchar"]) / 1e6,
        "more_memory_megabytes": (after.ru_maxrss - memory) * 1024 / 1e6,
    }
    print(json.dumps(figures), file=sys.stderr)
    os._exit(0)


def measured(folder: Path, shards: int, stages: list[str], *, filled: bool) -> dict[str, Any]:
    """What each stage takes of a run of so many shards."""
    scene(folder / "scene.tif", shards)
    tile(folder / "tile.tif")
    found: dict[str, Any] = {"shards": round(math.sqrt(shards)) ** 2}
    for name in ["begin", "fill", *(one for one in stages if one != "list")] if filled else stages:
        words = [sys.executable, "-m", "benchmarks.country", "--stage", name]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        done = processes.run(words, cwd=folder, env=environment)
        if name == "fill":
            continue
        found[name] = json.loads(done.stderr.splitlines()[-1])
        if found[name].pop("code"):
            raise SystemExit(f"{name}: {done.stderr}")
        print(found["shards"], name, done.stderr.splitlines()[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", type=int, nargs="+", default=[1000, 4000])
    parser.add_argument("--stages", nargs="+", default=[*STAGES][1:], choices=STAGES)
    parser.add_argument("--filled", action="store_true", help="without the list")
    parser.add_argument("--stage", choices=[*STAGES, "fill"], help="run one in this folder")
    parser.add_argument("--keep", action="store_true", help="do not write benchmarks/results")
    arguments = parser.parse_args()
    if arguments.stage:
        stage(arguments.stage)
    facts: dict[str, Any] = {"cpu": report.cpu_name(), "runs": []}
    for shards in arguments.shards:
        with tempfile.TemporaryDirectory() as name:
            facts["runs"].append(measured(Path(name), shards, arguments.stages, filled=arguments.filled))
    if not arguments.keep:
        report.write("country", facts)


if __name__ == "__main__":
    main()
