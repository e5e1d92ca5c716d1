"""What tells one scene from another without reading all of it."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from segearth_cli.errors import RasterError
from segearth_cli.raster.datasets import open_dataset
from segearth_cli.raster.grid import Window
from segearth_cli.raster.paths import exists
from segearth_cli.raster.scene import Scene

PIECE = 1 << 16  # bytes of each sample of a file
PIECES = 32  # samples of a scene, over all its files
SIDE = 64  # pixels of each sample of a scene that is no local file


def identity(scene: Scene) -> dict[str, Any]:
    """bytes, modified (UTC) and a fingerprint of a scene's files; of a remote scene the fingerprint of some pixels.

    The fingerprint is a SHA-256 of samples: beginning, end and evenly spread pieces of each file. A side file that
    GDAL keeps statistics in does not count.
    """
    files = local_files(scene)
    if not files:
        return {"bytes": None, "modified": None, "fingerprint": _pixels(scene)}
    stats = [path.stat() for path in files]
    newest = max(s.st_mtime_ns for s in stats)
    modified = datetime.fromtimestamp(newest // 10**9, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return {
        "bytes": sum(s.st_size for s in stats),
        "modified": f"{modified}.{newest % 10**9:09d}Z",
        "fingerprint": _samples(files),
    }


def local_files(scene: Scene) -> list[Path]:
    """The files of this machine that a scene is read from."""
    with open_dataset(scene.path) as ds:
        names = [name for name in ds.files if not name.endswith(".aux.xml")]
    return [path for path in map(Path, names) if path.is_file()]


def files_of(path: str) -> list[Path]:
    """The files of this machine that a raster is read from, side files and the sources of VRTs in VRTs included.

    One that cannot be opened as a raster is a file of its own.
    """
    found: dict[Path, None] = {}
    todo = [path]
    while todo:
        names = [name := todo.pop()]
        with suppress(RasterError), open_dataset(name) as ds:
            names += ds.files
        new = [Path(name) for name in names if Path(name) not in found and exists(name)]
        found |= dict.fromkeys(new)
        todo += [str(file) for file in new if file.suffix.casefold() == ".vrt" and str(file) != name]
    return list(found)


def _samples(files: list[Path]) -> str:
    digest = hashlib.sha256()
    each = max(2, PIECES // len(files))
    for path in files:
        size = path.stat().st_size
        digest.update(f"{size}\n".encode())
        with path.open("rb", buffering=0) as f:
            for at in sorted({max(0, (size - PIECE) * i // (each - 1)) for i in range(each)}):
                f.seek(at, os.SEEK_SET)
                digest.update(f.read(PIECE))
    return digest.hexdigest()


def _pixels(scene: Scene) -> str:
    digest = hashlib.sha256(repr((scene.height, scene.width, scene.dtype, scene.bands, scene.overviews)).encode())
    for row, col in ((0.1, 0.1), (0.5, 0.5), (0.5, 0.9), (0.9, 0.3)):
        height, width = min(SIDE, scene.height), min(SIDE, scene.width)
        chip = scene.read(Window(int((scene.height - height) * row), int((scene.width - width) * col), height, width))
        digest.update(np.ascontiguousarray(chip.image).tobytes() + np.packbits(chip.valid).tobytes())
    return digest.hexdigest()
