"""What tells one scene from another without reading all of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from segearth_cli.errors import RasterError
from segearth_cli.quantities import moment
from segearth_cli.raster.datasets import named_files, opened_dataset
from segearth_cli.raster.grid import Window
from segearth_cli.raster.paths import exists
from segearth_cli.raster.scene import Scene

PIECE = 1 << 16  # bytes of each sample of a file
PIECES = 32  # samples of a scene, over all its files
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # what TIFFs and BigTIFFs begin with
SIDE = 64  # pixels of each sample of a scene that is no local file


def identity(scene: Scene) -> dict[str, Any]:
    """bytes, modified (UTC) and a fingerprint of a scene's files; of a remote scene the fingerprint of some pixels.

    The fingerprint is a SHA-256 of samples: beginning, end and evenly spread pieces of each file. A side file that
    GDAL keeps statistics in does not count.
    """
    files = local_files(scene)
    if not files:
        return {"bytes": None, "modified": None, "fingerprint": pixel_fingerprint(scene)}
    stats = [path.stat() for path in files]
    return {
        "bytes": sum(s.st_size for s in stats),
        "modified": moment(max(s.st_mtime_ns for s in stats)),
        "fingerprint": _samples(files),
    }


def local_files(scene: Scene) -> list[Path]:
    """The files of this machine that a scene is read from."""
    names = [name for name in scene.files if not name.endswith(".aux.xml")]
    return [path for path in map(Path, names) if path.is_file()]


def sources(path: str) -> list[str]:
    """The names, as GDAL has them, of all that a raster is read from: side files, the sources of VRTs in VRTs.

    Raises RasterError when the raster cannot be opened; a source that cannot is but a name.
    """
    with opened_dataset(path) as ds:
        return sources_of(path, ds)


def sources_of(path: str, dataset: Any) -> list[str]:
    """`sources` of a raster that is open."""
    found = dict.fromkeys(named_files(dataset))
    todo = [name for name in found if name != path and name.casefold().endswith(".vrt")]
    while todo:
        with suppress(RasterError), opened_dataset(todo.pop()) as ds:
            new = [name for name in named_files(ds) if name not in found]
            found |= dict.fromkeys(new)
            todo += [name for name in new if name.casefold().endswith(".vrt")]
    return list(found)


def files_of(*paths: str, near: Collection[Path] | None = None) -> Iterator[Path]:
    """The files of this machine that rasters are read from; one that cannot be opened is a file of its own.

    near: the only folders of interest, links resolved; TIFFs elsewhere, whose side files all lie beside them, need not
    be opened then.
    """
    real = cache(lambda folder: Path(os.path.realpath(folder)))
    for path in paths:
        names = [path]
        if near is None or real(Path(path).parent) in near or not _is_tiff(path):
            with suppress(RasterError):
                names += sources(path)
        yield from (Path(name) for name in dict.fromkeys(names) if exists(name))


def _is_tiff(path: str) -> bool:
    try:
        with Path(path).open("rb", buffering=0) as f:
            return f.read(4) in TIFF
    except OSError:
        return False


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


def pixel_fingerprint(scene: Scene) -> str:
    """SHA-256 of samples of a scene's pixels."""
    digest = hashlib.sha256(repr((scene.height, scene.width, scene.dtype, scene.bands, scene.overviews)).encode())
    for row, col in ((0.1, 0.1), (0.5, 0.5), (0.5, 0.9), (0.9, 0.3)):
        height, width = min(SIDE, scene.height), min(SIDE, scene.width)
        chip = scene.read(Window(int((scene.height - height) * row), int((scene.width - width) * col), height, width))
        digest.update(np.ascontiguousarray(chip.image).tobytes() + np.packbits(chip.valid).tobytes())
    return digest.hexdigest()
