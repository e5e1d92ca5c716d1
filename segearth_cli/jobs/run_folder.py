"""What a sharded run is, and which of its shards are done: a folder that many processes may work in at once.

`run.json` says what is computed; `shards/` holds for each shard its GeoTIFFs and then a JSON record that vouches for
them by their SHA-256. All of it appears under its name when it is complete. A lock of the kernel on a small file keeps
two processes from computing one shard; it goes with the process that holds it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from segearth_cli.classes import ClassSet, from_tag, to_tag
from segearth_cli.errors import RasterError, RunError
from segearth_cli.files import replacing, sha256
from segearth_cli.jobs.lock import claim
from segearth_cli.prediction import Measured
from segearth_cli.raster import Frame, Georeferenced, Outputs, Window, blocks, frame_from_json, frame_to_json

FORMAT = 1
State = Literal["done", "empty", "failed", "missing", "damaged"]
COMPLETE: tuple[State, ...] = ("done", "empty")
_NOT_COMPARED = ("run", "scene.path")


class Shard(NamedTuple):
    """A rectangle of the output, computed and kept apart; name: its place in the grid of shards."""

    name: str
    window: Window


@dataclass(frozen=True, slots=True)
class Found:
    """What the folder says of a shard. reason: why it is not complete. record: its JSON."""

    state: State
    reason: str
    record: Mapping[str, Any]

    @property
    def measured(self) -> Measured:
        """What a shard that is complete took and gave."""
        record = self.record
        pixels = {int(code): n for code, n in record["pixels"].items()}
        return Measured(pixels, record["computed_windows"], record["seconds"], record["waited_seconds"])


@dataclass(frozen=True, slots=True)
class Ledger:
    """A run's folder. run: the content of its run.json."""

    folder: Path
    run: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 of everything that makes this run what it is."""
        return str(self.run["run"])

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is written of each shard: mask, and confidence and scores where asked for."""
        return tuple(self.run["outputs"])

    @property
    def classes(self) -> ClassSet:
        """The classes of the run."""
        return from_tag(json.dumps(self.run["classes"]))

    @property
    def frame(self) -> Frame:
        """Size and georeference of the joined mask."""
        return frame_from_json(self.run["frame"])

    @property
    def shards(self) -> list[Shard]:
        """All shards, row-major."""
        size, whole = self.run["shard_size"], Window(0, 0, self.run["frame"]["height"], self.run["frame"]["width"])
        return [Shard(f"r{w.row // size:05d}c{w.col // size:05d}", w) for w in blocks(whole, size, size)]

    def outputs(self, shard: Shard) -> Outputs:
        """The files of a shard."""
        paths = {kind: self.folder / "shards" / f"{shard.name}.{kind}.tif" for kind in self.kinds}
        return Outputs(**paths)

    def look(self, shard: Shard) -> Found:
        """What is known of a shard, its files checked against the SHA-256 of its record."""
        path = self._record(shard)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            state, run, files = record["state"], record["run"], record["files"]
        except FileNotFoundError:
            return Found("missing", "not computed yet", {})
        except (OSError, ValueError, KeyError, TypeError) as e:
            return Found("damaged", f"{path.name} cannot be read ({e})", {})
        if run != self.hash:
            return Found("damaged", f"{path.name} belongs to another run", {})
        if state not in COMPLETE:
            return Found("failed", str(record.get("error")), record)
        for name, digest in files.items():
            tiff = path.with_name(name)
            if not tiff.is_file():
                return Found("damaged", f"{name} is gone", record)
            if sha256(tiff) != digest:
                return Found("damaged", f"{name} has changed since it was written", record)
        return Found(state, "", record)

    def recorded(self, shard: Shard) -> bool:
        """Whether a shard is recorded as complete, its files not looked at."""
        try:
            record = json.loads(self._record(shard).read_text(encoding="utf-8"))
            return record["state"] in COMPLETE and record["run"] == self.hash
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def write(self, shard: Shard, measured: Measured) -> State:
        """Records a shard as done or empty, which it returns; the files of a done one must be there."""
        state: State = "empty" if measured.empty else "done"
        facts = asdict(measured) | {"pixels": {str(code): n for code, n in measured.pixels.items()}}
        self._write(shard, state, [] if measured.empty else self.outputs(shard).paths(), facts)
        return state

    def write_failure(self, shard: Shard, error: str) -> None:
        """Records a shard that could not be computed, and why."""
        self._write(shard, "failed", [], {"error": error})

    def _write(self, shard: Shard, state: State, files: Sequence[Path], facts: Mapping[str, Any]) -> None:
        record = {"shard": shard.name, "run": self.hash, "state": state, "window": list(shard.window)}
        _write_json(self._record(shard), record | {"files": {path.name: sha256(path) for path in files}} | dict(facts))

    @contextmanager
    def claim(self, shard: Shard, *, wait: bool = False) -> Iterator[bool]:
        """Whether this process may compute the shard now; with `wait`, when whoever has it is through.

        What a killed process left of the shard half written is removed.
        """
        with claim(self.folder / "shards" / f".{shard.name}.lock", wait=wait) as mine:
            if mine:
                for left in (self.folder / "shards").glob(f".{shard.name}.*.part*"):
                    left.unlink(missing_ok=True)
            yield mine

    def _record(self, shard: Shard) -> Path:
        return self.folder / "shards" / f"{shard.name}.json"


def describe(
    scene: Georeferenced, identity: Mapping[str, Any], facts: Mapping[str, Any], classes: ClassSet,
    shard_size: int, kinds: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """The content of run.json. identity: path, bytes, modified, fingerprint. shard_size: a multiple of raster.BLOCK."""
    run: dict[str, Any] = {
        "format": FORMAT,
        "scene": dict(identity),
        "facts": dict(facts),
        "classes": json.loads(to_tag(classes)),
        "shard_size": shard_size,
        "outputs": list(kinds),
        "frame": frame_to_json(scene),
    }
    run = json.loads(json.dumps(run))
    compared = {key: value for key, value in _flat(run).items() if key not in _NOT_COMPARED}
    run["run"] = hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()
    return run


def start(folder: Path, run: Mapping[str, Any], *, join: bool) -> Ledger:
    """The folder of a run, made, or joined where it holds the same run.

    Raises RunError when it holds a run and `join` is off, or another run, with every difference on a line.
    """
    try:
        (folder / "shards").mkdir(parents=True, exist_ok=True)
        created = _create_json(folder / "run.json", run)
    except OSError as e:
        raise RunError(f"--work {folder}: cannot be written: {e.strerror or e}; choose another folder") from e
    ledger = open_ledger(folder)
    if created:
        return ledger
    if differences := compare(ledger.run, run):
        lines = "".join(f"\n  {line}" for line in differences)
        raise RunError(f"--work {folder}: holds another run; take its options or another folder. What differs:{lines}")
    if not join:
        raise RunError(f"--work {folder}: holds this run already; go on with --resume, or choose another folder")
    return ledger


def open_ledger(folder: Path) -> Ledger:
    """The run that a folder holds. Raises RunError when it holds none, or one that cannot be read."""
    path = folder / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        known = run["format"] == FORMAT and {"run", "facts", "classes", "shard_size", "outputs", "frame"} <= run.keys()
    except FileNotFoundError:
        raise RunError(f"{folder}: holds no run.json; name the --work folder of a `segearth predict`") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise RunError(f"{path}: cannot be read ({e}); start anew in another --work folder") from None
    if not known:
        raise RunError(f"{path}: written by another version of segearth; start anew in another --work folder")
    return Ledger(folder, run)


def compare(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each value that differs between two run.json, but for those that tell nothing.

    >>> compare({"facts": {"threshold": 0.0}}, {"facts": {"threshold": 0.3}})
    ['threshold: 0.0 there, 0.3 now']
    """
    a, b = _flat(there), _flat(now)
    keys = [key for key in dict.fromkeys([*a, *b]) if key not in _NOT_COMPARED and a.get(key) != b.get(key)]
    return [f"{key.removeprefix('facts.')}: {_short(a.get(key))} there, {_short(b.get(key))} now" for key in keys]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def _short(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:197] + "..."


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as e:
        if isinstance(e, RasterError):
            raise
        raise RunError(f"{path}: cannot write: {e.strerror or e}") from e


def _create_json(path: Path, values: Mapping[str, Any]) -> bool:
    """Writes a file that is not there yet, whole; whether it was this process that did."""
    if path.exists():
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(3).hex()}.part")
    try:
        temporary.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return True
