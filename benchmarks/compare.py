"""Two states of the code on the same scenes, in turn: their CPU time, and the pixels on which their masks agree.

    python -m benchmarks.compare BASE                      # a commit against the files as they lie here
    python -m benchmarks.compare BASE OTHER --scene scenes/*.tif --classes water,building --pairs 5
    python -m benchmarks.compare HEAD --now "--upsampler none"    # what flags change

Both run with this Python and one thread; a run before the first pair fills the cache. The ratio is the median of those
of pairs, above 1 where BASE takes longer: the machine's speed drifts, pairs drift together.
"""

from __future__ import annotations

import argparse
import io
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import rasterio

from benchmarks import report
from benchmarks.processes import cost

ROOT = Path(__file__).parents[1]
SCENE = ROOT / "sample_tiles" / "neon_osbs_01m.tif"
WORDS = "water|river,building|roof,forest|tree,grass,road,bare soil"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared."""

    name: str
    """How the table calls it."""
    code: Path
    """The tree that it runs."""
    words: list[str]
    """What follows `python`."""
    masks: Path
    """The folder that it writes to."""


def checked_out(commit: str, folder: Path) -> Path:
    """The files of a commit of this repository, in `folder`. Exits with one line where there is no such commit."""
    asked = ["git", "-C", str(ROOT), "archive", "--format=tar", commit]
    done = subprocess.run(asked, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise SystemExit(f"{commit}: no commit of {ROOT} ({said}); name one of `git log --oneline`")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def in_turn(sides: Sequence[Side], folder: Path, pairs: int) -> list[list[dict[str, float]]]:
    """The costs of the two sides, a list each, one process after the other."""
    for side in sides:
        cost(side.words, folder, side.code)
    found: list[list[dict[str, float]]] = [[], []]
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            found[which].append(cost(sides[which].words, folder, sides[which].code))
    return found


def equal_share(one: Path, other: Path) -> float:
    """The share of pixels of two masks that have the same code. Exits where they differ in size."""
    with rasterio.open(one) as a, rasterio.open(other) as b:
        if a.shape != b.shape:
            raise SystemExit(f"{one.name}: {a.shape} and {b.shape} pixels")
        return float(np.mean(a.read(1) == b.read(1)))


def table(sides: Sequence[Side], costs: list[list[dict[str, float]]], shares: dict[str, float]) -> str:
    """The figures for people."""
    seconds = [[run["cpu_seconds"] for run in runs] for runs in costs]
    rows = [f"{'':<24}{'min s':>9}{'median s':>10}{'peak GB':>9}"]
    for side, took, runs in zip(sides, seconds, costs, strict=True):
        rows.append(f"{side.name:<24}{min(took):>9.2f}{median(took):>10.2f}{max(r['peak_gb'] for r in runs):>9.2f}")
    ratio = median(a / b for a, b in zip(*seconds, strict=True))
    least = min(seconds[0]) / min(seconds[1])
    rows.append(f"{'times as fast':<24}{least:>9.3f}{ratio:>10.3f}   ({len(seconds[0])} pairs, CPU seconds)")
    rows += [f"{name:<24}{100 * share:>18.4f} % of pixels equal" for name, share in shares.items()]
    if len(shares) > 1:
        mean = sum(shares.values()) / len(shares)
        rows.append(f"{'mean / worst':<24}{100 * mean:>18.4f} / {100 * min(shares.values()):.4f} %")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="a commit")
    parser.add_argument("other", nargs="?", help="a commit; without it the files as they lie here")
    parser.add_argument("--scene", type=Path, nargs="+", default=[SCENE], help="rasters of names of their own")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--classes", default=WORDS)
    what.add_argument("--classes-file", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--flags", default="", help="of `predict`, for both")
    parser.add_argument("--now", default="", help="of `predict`, for the second one alone")
    parser.add_argument("--name", default="", help="also keep the figures in benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    scenes = [path.resolve() for path in arguments.scene]
    words = ["--classes", arguments.classes]
    if arguments.classes_file:
        words = ["--classes-file", str(arguments.classes_file.resolve())]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = checked_out(arguments.base, folder / "base")
        now = checked_out(arguments.other, folder / "other") if arguments.other else ROOT
        names = [arguments.base, f"{arguments.other or 'here'} {arguments.now}".strip()]
        sides: list[Side] = []
        for side, code, more in zip(names, (base, now), ("", arguments.now), strict=True):
            masks = folder / f"masks{len(sides)}"
            masks.mkdir()
            command = ["-m", "segearth_cli", "predict", *map(str, scenes), *words, "--out", str(masks), "--overwrite"]
            command += ["--device", "cpu", "--quiet", *shlex.split(arguments.flags), *shlex.split(more)]
            sides.append(Side(side, code, command, masks))
        costs = in_turn(sides, folder, arguments.pairs)
        made = sorted(path.name for path in sides[0].masks.glob("*.tif"))
        shares = {name: equal_share(*(side.masks / name for side in sides)) for name in made}
    print(table(sides, costs, shares))
    if arguments.name:
        facts = {side.name: runs for side, runs in zip(sides, costs, strict=True)}
        report.write(arguments.name, {"cpu": report.cpu_name(), **facts, "equal": shares})


if __name__ == "__main__":
    main()
