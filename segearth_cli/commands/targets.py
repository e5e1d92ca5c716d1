"""What commands write and read of scenes and masks, for the gate."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segearth_cli.gate import Target, admit

if TYPE_CHECKING:
    from segearth_cli.raster import Outputs

_RUN = ("run.json", "shards")  # what a --work folder is read for


def scene_targets(names: Sequence[str], outputs: Sequence[Outputs], *, skip: bool) -> Iterator[Target]:
    """The files of each scene. skip: those that are there may be of the same run, which is seen when its turn comes.

    Polygons and previews do not tell which run they are of: they are taken for those of the mask beside them, if there
    is one.
    """
    for name, output in zip(names, outputs, strict=True):
        for kind, path in output.by_kind().items():
            yield Target(path, "--out" if kind == "mask" else f"--{kind}", kept=skip, scene=name)
        if output.vector is not None:
            yield Target(output.vector, "--vector", kept=skip and output.mask.exists(), scene=name)
        if output.preview is not None:
            yield Target(output.preview, "--preview", kept=skip and output.mask.exists(), scene=name)


def admit_made(
    masks: Sequence[str], made: Sequence[Path], out: Path | None, others: Iterable[str] = (), *, overwrite: bool
) -> None:
    """Asks the gate for the one file that is made of each mask.

    out: as it was named; a folder may be made. others: further inputs than the masks, asked for where a file is there.
    """
    from segearth_cli.raster import files_of

    admit(
        [Target(path, "--out", scene=mask) for mask, path in zip(masks, made, strict=True)],
        lambda: files_of(*masks, *others),
        overwrite=overwrite,
        folders={path.parent for path in made if path.parent == out},
    )


def read_files(
    names: Sequence[str], others: Sequence[Path | None], runs: Sequence[Path], targets: Sequence[Target]
) -> Iterator[Path]:
    """All files that are read but those that options name: scenes with their sources, other files, run folders.

    targets: what is asked of is these alone; scenes far from all of them are not opened.
    """
    from segearth_cli.raster import files_of

    near = {Path(os.path.realpath(target.path)).parent for target in targets}
    yield from files_of(*names, near=near)
    yield from (path for path in others if path is not None)
    for folder in runs:
        yield from run_files(folder)


def run_files(folder: Path) -> Iterator[Path]:
    """What a folder of runs is read for."""
    return (folder / part for part in _RUN)
