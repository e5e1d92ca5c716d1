"""What a sharded run is, and which of its shards are done: a folder that many processes may work in at once.

`run.json` says what is computed; `shards/` holds for each shard its GeoTIFFs and then a JSON record that vouches for
them by their SHA-256. Both are sealed by a hash of their own content. All of it appears under its name when it is
complete. A lock of the kernel on a small file keeps two processes from computing one shard; it goes with the process
that holds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from segearth_cli.cache import sha256
from segearth_cli.classes import ClassSet, from_tag, to_tag
from segearth_cli.console import without_secrets
from segearth_cli.errors import RunError, SegEarthError
from segearth_cli.files import create_text, make_folders, recover, recover_all, write_text
from segearth_cli.jobs import typed
from segearth_cli.jobs.documents import FORMAT, Record, Run, SceneFile, differences
from segearth_cli.jobs.lock import claim
from segearth_cli.prediction import Measured
from segearth_cli.raster import Frame, Georeferenced, Outputs, Window, blocks, frame_from_json, frame_to_json

State = Literal["done", "empty", "failed", "missing", "damaged"]
COMPLETE: tuple[State, ...] = ("done", "empty")


class Shard(NamedTuple):
    """A rectangle of the output, computed and kept apart."""

    name: str
    """Its place in the grid of shards, e.g. r00002c00000."""
    window: Window
    """Its pixels."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the folder says of a shard."""

    state: State
    """done or empty when it is complete; damaged when what is there cannot be vouched for."""
    reason: str = ""
    """Why it is not complete."""
    record: Record | None = None
    """Its record, where that can be believed."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A run's folder."""

    folder: Path
    """Where it is."""
    run: Run
    """The content of its run.json."""

    @property
    def hash(self) -> str:
        """SHA-256 of everything that makes this run what it is."""
        return self.run.run

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is written of each shard: mask, and confidence and scores where asked for."""
        return self.run.outputs

    @property
    def classes(self) -> ClassSet:
        """The classes of the run."""
        return from_tag(json.dumps(self.run.classes))

    @property
    def frame(self) -> Frame:
        """Size and georeference of the joined mask."""
        return frame_from_json(dict(self.run.frame))

    @property
    def shards(self) -> list[Shard]:
        """All shards, row-major."""
        size, whole = self.run.shard_size, Window(0, 0, self.run.frame["height"], self.run.frame["width"])
        return [Shard(f"r{w.row // size:05d}c{w.col // size:05d}", w) for w in blocks(whole, size, size)]

    def outputs(self, shard: Shard) -> Outputs:
        """The files of a shard."""
        paths = {kind: self.folder / "shards" / f"{shard.name}.{kind}.tif" for kind in self.kinds}
        return Outputs(**paths)  # type: ignore[arg-type]

    def look(self, shard: Shard) -> Found:
        """What is known of a shard, its files checked against the SHA-256 of its record."""
        found = self.told(shard)
        if found.record is None or found.state != "done":
            return found
        for name, digest in found.record.files.items():
            tiff = self._record(shard).with_name(name)
            if not tiff.is_file():
                return Found("damaged", f"{name} is gone")
            if sha256(tiff) != digest:
                return Found("damaged", f"{name} has changed since it was written")
        return found

    def told(self, shard: Shard) -> Found:
        """What the record of a shard says, checked against itself; its files are not looked at."""
        path = self._record(shard)
        try:
            record = typed.parse(Record, path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Found("missing", "not computed yet")
        except (OSError, ValueError) as e:
            return Found("damaged", f"{path.name} cannot be read ({e})")
        if record.run != self.hash:
            return Found("damaged", f"{path.name} belongs to another run")
        if record != record.sealed() or (record.shard, record.window) != (shard.name, shard.window):
            return Found("damaged", f"{path.name} has changed since it was written")
        files = [place.name for place in self.outputs(shard).paths()] if record.state == "done" else []
        if sorted(record.files) != sorted(files):
            return Found("damaged", f"{path.name} vouches for other files than a shard has")
        return Found(record.state, record.error or "", record)

    def write(self, shard: Shard, measured: Measured) -> State:
        """Records a shard as done or empty, which it returns; the files of a done one must be there."""
        state: Literal["done", "empty"] = "empty" if measured.empty else "done"
        files = {} if measured.empty else {path.name: sha256(path) for path in self.outputs(shard).paths()}
        self._write(Record(
            shard.name, self.hash, state, shard.window, files, {str(code): n for code, n in measured.pixels.items()},
            measured.computed_windows, measured.seconds, measured.waited_seconds,
        ))  # fmt: skip
        return state

    def write_failure(self, shard: Shard, error: str) -> None:
        """Records a shard that could not be computed, and why."""
        error = without_secrets(error)
        self._write(Record(shard.name, self.hash, "failed", shard.window, {}, {}, 0, 0.0, 0.0, error))

    def _write(self, record: Record) -> None:
        write_text(self.folder / "shards" / f"{record.shard}.json", typed.write(record.sealed()))

    @contextmanager
    def claim(self, shard: Shard, *, wait: bool = False) -> Iterator[bool]:
        """Whether this process may compute the shard now; with `wait`, when whoever has it is through.

        What a killed process of this machine left of the shard half written is removed; what others write stays,
        because on a file system without locks two processes may be at one shard.
        """
        with claim(self.folder / "shards" / f".{shard.name}.lock", wait=wait) as mine:
            if mine:
                recover([self._record(shard), *self.outputs(shard).paths()])
            yield mine

    def _record(self, shard: Shard) -> Path:
        return self.folder / "shards" / f"{shard.name}.json"


def describe(
    scene: Georeferenced, path: str, identity: Mapping[str, Any], facts: Mapping[str, Any], classes: ClassSet,
    shard_size: int, kinds: Sequence[str],
) -> Run:  # fmt: skip
    """The content of run.json. identity: bytes, modified, fingerprint. shard_size: a multiple of a mask's tiles."""
    values = {
        "format": FORMAT,
        "scene": SceneFile(path=without_secrets(path), **identity),
        "facts": facts,
        "classes": json.loads(to_tag(classes)),
        "shard_size": shard_size,
        "outputs": kinds,
        "frame": frame_to_json(scene),
        "run": "",
    }
    return typed.parse(Run, typed.write(values)).sealed()


def start(folder: Path, run: Run, *, join: bool, any_size: bool = False) -> Ledger:
    """The folder of a run, made, or joined where it holds the same run; any_size: with shards of whatever side.

    Raises RunError when it holds a run and `join` is off, or another run, with every difference.
    """
    try:
        make_folders([folder / "shards"])
        recover_all(folder)
        created = create_text(folder / "run.json", typed.write(run))
    except SegEarthError as e:
        raise RunError(f"--work {folder}: cannot be written ({e}); choose another folder") from e
    ledger = open_ledger(folder)  # without hard links another run may have been quicker
    if any_size:
        run = replace(run, shard_size=ledger.run.shard_size)
    if found := differences(ledger.run, run):
        raise RunError(
            f"--work {folder}: holds another run; take its options or another folder. What differs: {'; '.join(found)}"
        )
    if not created and not join:
        raise RunError(f"--work {folder}: holds this run already; go on with --resume, or choose another folder")
    return ledger


def open_ledger(folder: Path) -> Ledger:
    """The run that a folder holds. Raises RunError when it holds none, or one that cannot be read or was changed."""
    path = folder / "run.json"
    try:
        text = path.read_text(encoding="utf-8")
        if (values := json.loads(text)) and isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
            raise RunError(f"{path}: written by another version of segearth; start anew in another --work folder")
        run = typed.parse(Run, text)
    except FileNotFoundError:
        raise RunError(f"{folder}: holds no run.json; name the --work folder of a `segearth predict`") from None
    except (OSError, ValueError, RecursionError) as e:
        raise RunError(f"{path}: cannot be read ({e}); start anew in another --work folder") from None
    if run != run.sealed():
        raise RunError(f"{path}: was changed since it was written (its hash says so); start anew in another folder")
    return Ledger(folder, run)
