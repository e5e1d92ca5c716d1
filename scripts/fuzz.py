"""Commands on damaged inputs: `python -m scripts.fuzz --number 300` prints the table of docs/guarantees.md.

Each trial changes one input (bytes flipped, cut, doubled, zeroed; in texts also numbers and words), runs a command in a
process of its own, and asks: no fault of segearth itself, no crash, an answer within a minute, one line with exit 1
to 3, no file left of a failure. Where the input is still read, `fuzz_judges` asks whether the result is that of what
plain GDAL, safetensors or JSON read of the same damaged file. A trial is repeated with `--only INPUT --first SEED
--number 1`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: its teams of threads do not outlive a fork

import platform
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts import fuzz_inputs, fuzz_judges

LIMIT = 60.0  # seconds
ROOT = Path(__file__).parents[1]
MODEL = ("-m", "local-dir:model", "-d", "cpu", "-q")
PREDICT = ("predict", "scene.tif", *MODEL, "-c", "water,road", "-o", "out.tif")
QUICK = (
    "--crop",
    "64",
    "--batch-size",
    "1",
    "--jitters",
    "1",
    "--workers",
    "0",
    "--held-out",
    "1",
    "--save-every",
    "1",
)
TRAIN = ("train-upsampler", "photos", "-m", "local-dir:model", "-d", "cpu", "-q", *QUICK, "-o", "u.safetensors")
WORDS = (
    b"NaN",
    b"-1",
    b"1e999",
    b"0",
    b"null",
    b"99999999999999999999",
    b'""',
    b"[]",
    b"{}",
    b",",
    b"|",
    b"#",
    b"\x00",
)


@dataclass(frozen=True)
class Input:
    """One kind of input."""

    files: tuple[str, ...]
    """What is changed: one of them, by turns; {file} in the command stands for it."""
    command: tuple[str, ...]
    """What reads it."""
    judge: Callable[[str], str]
    """What is wrong with the result of a command that ended well, called in its folder; empty when nothing is."""
    text: bool = False
    """Whether numbers and words are changed too."""
    left: str = ""
    """What the name of a file that a refused command may leave begins with."""


SCENES = ("deflate.tif", "alpha.tif", "masked.tif", "plain16.tif", "photo.jpg", "picture.png", "over.vrt")
INPUTS = {
    "scene": Input(SCENES, ("predict", "{file}", *PREDICT[2:]), fuzz_judges.scene),
    "mask": Input(("mask.tif",), ("vectorize", "mask.tif", "-q", "-o", "out.gpkg"), fuzz_judges.mask),
    "label": Input(
        ("label.tif",),
        ("evaluate", "mask.tif", "label.tif", "-q", "--classes", "background,water,road", "--json", "out.json"),
        fuzz_judges.label,
    ),
    "drawn label": Input(
        ("drawn.geojson", "drawn.gpkg"),
        ("evaluate", "mask.tif", "{file}", "-q", "--classes", "background,water,road", "--json", "out.json"),
        fuzz_judges.drawn_label,
        True,
    ),
    "area": Input(("area.geojson",), (*PREDICT, "--aoi", "area.geojson"), fuzz_judges.area, True),
    "calibration": Input(
        ("c.calibration",),
        ("predict", "scene.tif", *MODEL, "--calibration", "c.calibration", "-o", "out.tif"),
        fuzz_judges.calibration,
    ),
    "run.json": Input(("run/run.json",), ("merge", "run", "-o", "out.tif"), fuzz_judges.same, True, "run/"),
    "record": Input(
        ("run/shards/r00000/r00000c00000.json",), ("merge", "run", "-o", "out.tif"), fuzz_judges.same, True, "run/"
    ),
    "shard": Input(
        ("run/shards/r00000/r00000c00000.mask.tif",), ("merge", "run", "-o", "out.tif"), fuzz_judges.same, left="run/"
    ),
    "model config": Input(("model/open_clip_config.json",), PREDICT, fuzz_judges.config, True),
    "model weights": Input(("model/open_clip_model.safetensors",), PREDICT, fuzz_judges.weights),
    "upsampler": Input(("up.safetensors",), (*PREDICT, "--upsampler", "up.safetensors"), fuzz_judges.upsampler),
    "segearth.json": Input(("model/segearth.json",), PREDICT, fuzz_judges.advice, True),
    "class file": Input(
        ("classes.txt",),
        ("predict", "scene.tif", *MODEL, "--classes-file", "classes.txt", "-o", "out.tif"),
        fuzz_judges.classes,
        True,
    ),
    "manifest": Input(
        ("list.csv", "list.txt"),
        ("predict", "--manifest", "{file}", *MODEL, "-c", "water,road", "-o", "out", "--summary", "table.csv"),
        fuzz_judges.manifest,
        True,
        "",
    ),
    "checkpoint": Input(
        ("u.train/checkpoint.pt",), (*TRAIN, "--steps", "2", "--resume"), fuzz_judges.checkpoint, left="u.train/"
    ),
    "recipe": Input(
        ("recipe.toml",), (*TRAIN[:-1], "r.safetensors", "--config", "recipe.toml", "--steps", "1"),
        fuzz_judges.recipe, True, "r.train/",
    ),
}  # fmt: skip


def changed(data: bytes, rng: random.Random, *, text: bool) -> bytes:
    """The bytes with one to three changes, texts with one or two; every eighth time they are cut."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 2 if text else 3)):
        at, size = rng.randrange(len(out) + 1), rng.randint(1, 16)
        kind = rng.randrange(6 if text else 4)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + size] = bytes(rng.randrange(256) for _ in range(size))
        elif kind == 2:
            out[at:at] = out[at : at + size]
        elif kind == 3:
            out[at : at + size] = bytes(len(out[at : at + size]))
        else:  # a number or a word of a text
            found = list(re.finditer(rb"-?[0-9][0-9.e+-]*|[A-Za-z_]+", bytes(out)))
            if found:
                place = rng.choice(found)
                out[place.start() : place.end()] = rng.choice(WORDS)
    return bytes(out[: rng.randrange(len(out) + 1)] if rng.randrange(8) == 0 else out)


def in_child(act: Callable[[], int]) -> tuple[int, str]:
    """Exit code (negative: a signal, 124: too slow) and stderr of a function in a process of its own."""
    with tempfile.TemporaryFile() as err:
        if (child := os.fork()) == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(err.fileno(), 2)
            code = 99
            try:
                code = act()
            finally:
                sys.stderr.flush()
                os._exit(code)
        end = time.monotonic() + LIMIT
        while (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return 124, "too slow"
            time.sleep(0.01)
        err.seek(0)
        return os.waitstatus_to_exitcode(done[1]), err.read().decode(errors="replace")


def run(arguments: tuple[str, ...]) -> tuple[int, str]:
    """Exit code and stderr of a command."""
    from segearth_cli import cli

    def act() -> int:
        sys.argv = ["segearth", *arguments]
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)

    return in_child(act)


def prepare(folder: Path) -> None:
    """All inputs, sound, and what the commands make of them."""
    case = ROOT / "tests" / "parity" / "sliding"
    shutil.copytree(case / "model", folder / "model")
    shutil.copy(case / "upsampler.safetensors", folder / "up.safetensors")
    (folder / "model" / "segearth.json").write_text(json.dumps(fuzz_judges.ADVICE, indent=1))
    (folder / "classes.txt").write_text("water, lake #0000ff\n# roads\nroad, street # of any kind\ncar park\n")
    (folder / "list.csv").write_text("scene,out\nscene.tif,out/a.tif\nsecond.tif,out/b.tif\n")
    (folder / "list.txt").write_text("# two scenes\nscene.tif\nsecond.tif\n")
    (folder / "recipe.toml").write_text('lr = 0.001\nseed = 3\nradius = 2\nimage-loss = 0.5\nprecision = "fp32"\n')
    os.chdir(folder)
    fuzz_inputs.write_scenes(case / "image.tif")
    fuzz_inputs.write_layers()
    commands = [
        (*PREDICT[:-1], "mask.tif", "--work", "run", "--shard-size", "512"),
        (*TRAIN, "--steps", "1"),
        (*PREDICT[:-1], "plain.tif"),
        (*PREDICT[:-1], "lifted.tif", "--upsampler", "up.safetensors"),
        ("calibrate", "scene.tif", *MODEL, "-c", "water,road", "--labels", "drawn.gpkg", "-o", "c.calibration"),
        ("predict", "scene.tif", *MODEL, "--calibration", "c.calibration", "-o", "calibrated.tif"),
    ]
    for command in commands:
        code, said = run(command)
        assert code == 0, said
    shutil.copytree("u.train", "begun")
    code, said = run((*TRAIN, "--steps", "2", "--resume"))
    assert code == 0, said
    Path("u.safetensors").rename("trained.safetensors")
    shutil.rmtree("u.train")
    Path("begun").rename("u.train")
    shutil.copy("mask.tif", "label.tif")
    absent = [file for kind in INPUTS.values() for file in kind.files if not Path(file).is_file()]
    assert not absent, absent


def trial(place: Path, name: str, seed: int) -> str:
    """What became of one changed input: done, refused, or what is wrong."""
    rng, kind = random.Random(f"{name} {seed}"), INPUTS[name]
    file = kind.files[seed % len(kind.files)]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(place, folder, dirs_exist_ok=True)
        os.chdir(folder)
        Path(file).write_bytes(changed(Path(file).read_bytes(), rng, text=kind.text))
        before = {str(path) for path in Path().rglob("*") if path.is_file()}
        code, said = run(tuple(word.replace("{file}", file) for word in kind.command))
        left = {str(path) for path in Path().rglob("*") if path.is_file()} - before
        try:
            if code < 0 or code in (70, 99, 124) or "Traceback" in said:
                return f"fault: exit {code} {said.strip()[-300:]}"
            if any(".part" in path or ".old" in path for path in left):
                return f"left: {sorted(left)}"
            if code != 0:
                lines = [line for line in said.splitlines() if line]
                if code not in (1, 2, 3) or not lines or (code != 3 and len(lines) > 1 and name != "manifest"):
                    return f"told badly: exit {code} {said.strip()[-300:]}"
                stray = [path for path in left if name != "manifest" and not (kind.left and path.startswith(kind.left))]
                return f"left: {stray}" if stray else "refused"
            wrong = judged(kind, file)
            return f"wrong: {wrong}" if wrong else "done"
        finally:
            os.chdir(place)


def judged(kind: Input, file: str) -> str:
    """What is wrong with a result; judged in a process of its own, for GDAL may die of what it reads."""
    with tempfile.NamedTemporaryFile("w+") as found:

        def act() -> int:
            found.write(kind.judge(file))
            found.flush()
            return 0

        code, said = in_child(act)
        found.seek(0)
        return found.read() if code == 0 else f"the judge ended with {code}: {said.strip()[-400:]}"


def before_forks() -> None:
    """Imports what commands import when they begin."""
    import matplotlib.figure  # noqa: F401

    import segearth_cli

    for found in pkgutil.walk_packages(segearth_cli.__path__, "segearth_cli."):
        if not found.name.endswith(("__main__", "gpu_kernels")):
            importlib.import_module(found.name)
    importlib.import_module("open_clip")


def main() -> None:
    """Runs all trials and prints the table, and each fault with its seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=300, help="trials of each input")
    parser.add_argument("--first", type=int, default=0, help="seed of the first trial")
    parser.add_argument("--only", choices=INPUTS, nargs="+", help="some inputs")
    given = parser.parse_args()
    import rasterio
    import torch

    torch.set_num_threads(1)
    before_forks()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as folder:
        os.environ["SEGEARTH_CACHE"] = cache
        place = Path(folder).resolve()
        prepare(place)
        print("| input | trials | done and judged | refused | faults |\n|-|-|-|-|-|")
        for name in given.only or INPUTS:
            seeds = range(given.first, given.first + given.number)
            found = {seed: trial(place, name, seed) for seed in seeds}
            counts = Counter("faults" if ":" in result else result for result in found.values())
            print(
                f"| {name} | {given.number} | {counts['done']} | {counts['refused']} | {counts['faults']} |", flush=True
            )
            for seed, result in found.items():
                if ":" in result:
                    print(f"{name} {seed}: {result}", file=sys.stderr, flush=True)
        os.chdir("/")
    print(
        f"\n{time.strftime('%Y-%m-%d')}, seeds {given.first} to {given.first + given.number - 1}, "
        f"{time.perf_counter() - started:.0f} s; GDAL {rasterio.__gdal_version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )


if __name__ == "__main__":
    main()
