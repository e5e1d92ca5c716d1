"""Commands on damaged inputs: `python -m scripts.fuzz --number 300` prints the table of docs/guarantees.md.

Each trial changes one input (bytes flipped, cut, doubled, zeroed), runs a command in a process of its own, and asks: no
fault of segearth itself, no crash, an answer within a minute, one line with exit 1 to 3, and no file left of a failure.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

LIMIT = 60.0  # seconds
ROOT = Path(__file__).parents[1]
MODEL = ("-m", "local-dir:model", "--upsampler", "none", "-d", "cpu", "-q")
# input -> (the file that is changed, the command that reads it)
INPUTS = {
    "scene": ("scene.tif", ("predict", "scene.tif", *MODEL, "-c", "water,road", "-o", "out.tif")),
    "mask": ("mask.tif", ("vectorize", "mask.tif", "-q", "-o", "out.gpkg")),
    "label": (
        "label.tif",
        ("evaluate", "mask.tif", "label.tif", "-q", "--classes", "background,water,road", "--json", "out.json"),
    ),
    "run.json": ("run/run.json", ("merge", "run", "-o", "out.tif")),
    "record": ("run/shards/r00000c00000.json", ("merge", "run", "-o", "out.tif")),
    "shard": ("run/shards/r00000c00000.mask.tif", ("merge", "run", "-o", "out.tif")),
    "model config": ("model/open_clip_config.json", ("predict", "scene.tif", *MODEL, "-c", "water", "-o", "out.tif")),
    "model weights": (
        "model/open_clip_model.safetensors", ("predict", "scene.tif", *MODEL, "-c", "water", "-o", "out.tif")
    ),
    "class file": ("classes.txt", ("predict", "scene.tif", *MODEL, "--classes-file", "classes.txt", "-o", "out.tif")),
    "manifest": ("list.csv", ("predict", "--manifest", "list.csv", *MODEL, "-c", "water", "-o", "out")),
}  # fmt: skip


def changed(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to three changes; every eighth time they are cut."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at, size = rng.randrange(len(out) + 1), rng.randint(1, 16)
        kind = rng.randrange(4)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + size] = bytes(rng.randrange(256) for _ in range(size))
        elif kind == 2:
            out[at:at] = out[at : at + size]
        else:
            out[at : at + size] = bytes(len(out[at : at + size]))
    return bytes(out[: rng.randrange(len(out) + 1)] if rng.randrange(8) == 0 else out)


def run(arguments: tuple[str, ...]) -> tuple[int, str]:
    """Exit code (negative: a signal, 124: too slow) and stderr of a command in a process of its own."""
    from segearth_cli import cli

    with tempfile.TemporaryFile() as err:
        if (child := os.fork()) == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = ["segearth", *arguments]
            code = 99
            try:
                code = cli.run()
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


def prepare(folder: Path) -> None:
    """All inputs, sound."""
    case = ROOT / "tests" / "parity" / "sliding"
    shutil.copytree(case / "model", folder / "model")
    shutil.copy(case / "image.tif", folder / "scene.tif")
    (folder / "classes.txt").write_text("water, lake #0000ff\nroad\n")
    (folder / "list.csv").write_text("scene,out\nscene.tif,out/a.tif\n")
    os.chdir(folder)
    first = (
        "predict",
        "scene.tif",
        *MODEL,
        "-c",
        "water,road",
        "-o",
        "mask.tif",
        "--work",
        "run",
        "--shard-size",
        "512",
    )
    code, said = run(first)
    assert code == 0, said
    shutil.copy("mask.tif", "label.tif")


def trial(place: Path, name: str, rng: random.Random) -> str:
    """What became of one changed input: done, refused, or what is wrong."""
    file, arguments = INPUTS[name]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(place, folder, dirs_exist_ok=True)
        os.chdir(folder)
        Path(file).write_bytes(changed(Path(file).read_bytes(), rng))
        before = {path for path in Path().rglob("*") if path.is_file()}
        code, said = run(arguments)
        left = {path for path in Path().rglob("*") if path.is_file()} - before
        os.chdir(place)
    if code < 0 or code in (70, 99, 124) or "Traceback" in said:
        return f"fault: exit {code} {said.strip()[-200:]}"
    if any(".part" in path.name for path in left):
        return f"left: {sorted(map(str, left))}"
    return "done" if code == 0 else "refused"


def main() -> None:
    """Runs all trials and prints the table, and each fault with its seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=300, help="trials of each input")
    parser.add_argument("--only", choices=INPUTS, help="one input")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        prepare(place)
        print("| input | trials | done | refused | faults |\n|-|-|-|-|-|")
        for name in [given.only] if given.only else INPUTS:
            found = {seed: trial(place, name, random.Random(f"{name} {seed}")) for seed in range(given.number)}
            counts = Counter("faults" if ":" in result else result for result in found.values())
            print(
                f"| {name} | {given.number} | {counts['done']} | {counts['refused']} | {counts['faults']} |", flush=True
            )
            for seed, result in found.items():
                if ":" in result:
                    print(f"{name} {seed}: {result}", file=sys.stderr)
        os.chdir("/")


if __name__ == "__main__":
    main()
