"""What a sharded run is, and which of its shards are done: a folder, or a prefix, that many processes work in at once.

`run.json` says what is computed; `shards/` holds for each row a folder, and there for each shard its GeoTIFFs and then
a JSON record that vouches for them by their SHA-256. Both are sealed by a hash of their own content. All of it appears
under its name when it is complete; `temporary/` has the names of what is not, and the claims that keep two processes
from computing one shard. Where that lies is for `store` to know.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeVar

from segearth_cli.classes import ClassSet, from_tag, to_tag
from segearth_cli.console import without_secrets
from segearth_cli.errors import RunError, SegEarthError
from segearth_cli.jobs import typed
from segearth_cli.jobs.documents import FORMAT, Record, Run, SceneFile, differences
from segearth_cli.jobs.place import Place
from segearth_cli.jobs.store import RUN, Store, open_store
from segearth_cli.prediction import Measured
from segearth_cli.raster import Frame, Georeferenced, Outputs, Window, blocks, frame_from_json, frame_to_json
from segearth_cli.texts import from_json

T = TypeVar("T")
U = TypeVar("U")
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
    """What the store says of a shard."""

    state: State
    """done or empty when it is complete; damaged when what is there cannot be vouched for."""
    reason: str = ""
    """Why it is not complete."""
    record: Record | None = None
    """Its record, where that can be believed."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A run as its store has it."""

    store: Store
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
        return shards_of(Window(0, 0, self.run.frame["height"], self.run.frame["width"]), self.run.shard_size)

    def files(self, shard: Shard) -> dict[str, str]:
        """The names of a shard's files in the store, by what they hold."""
        return {kind: f"{_row(shard.name)}/{shard.name}.{kind}.tif" for kind in self.kinds}

    @contextmanager
    def receiving(self, shard: Shard) -> Iterator[Outputs]:
        """Where the files of a shard are written to; kept when the block succeeds."""
        with self.store.receiving([*self.files(shard).values()]) as paths:
            places = dict(zip(self.kinds, paths, strict=True))
            yield Outputs(**places, temporary=self.store.temporary)  # type: ignore[arg-type]

    def look(self, shard: Shard) -> Found:
        """What is known of a shard, its files checked against the SHA-256 of its record."""
        found = self.told(shard)
        if found.record is None or found.state != "done":
            return found
        for name, digest in found.record.files.items():
            if wrong := self.store.wrong(f"{_row(shard.name)}/{name}", digest):
                return Found("damaged", f"{name} {wrong}")
        return found

    def look_at(self, shards: Sequence[Shard]) -> dict[Shard, Found]:
        """What is known of many shards."""
        return dict(zip(shards, self.asked(self.look, shards), strict=True))

    def asked(self, question: Callable[[T], U], of: Sequence[T]) -> list[U]:
        """The answers to a question to the store, of many things; at once where it answers many at once."""
        if (at_once := self.store.at_once) == 1:
            return [question(one) for one in of]
        with ThreadPoolExecutor(at_once) as pool:
            return [*pool.map(question, of)]

    def told(self, shard: Shard) -> Found:
        """What the record of a shard says, checked against itself; its files are not looked at."""
        name = f"{shard.name}.json"
        try:
            record = typed.parse(Record, self.store.read(f"{_row(shard.name)}/{name}"))
        except FileNotFoundError:
            return Found("missing", "not computed yet")
        except (OSError, ValueError) as e:
            return Found("damaged", f"{name} cannot be read ({e})")
        if record.run != self.hash:
            return Found("damaged", f"{name} belongs to another run")
        if record != record.sealed() or (record.shard, record.window) != (shard.name, shard.window):
            return Found("damaged", f"{name} has changed since it was written")
        files = [place.rpartition("/")[2] for place in self.files(shard).values()] if record.state == "done" else []
        if sorted(record.files) != sorted(files):
            return Found("damaged", f"{name} vouches for other files than a shard has")
        return Found(record.state, record.error or "", record)

    def write(self, shard: Shard, measured: Measured, files: Mapping[str, str]) -> State:
        """Records a shard as done or empty, which it returns. files: SHA-256 by name of those of a done one."""
        state: Literal["done", "empty"] = "empty" if measured.empty else "done"
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
        self.store.write(f"{_row(record.shard)}/{record.shard}.json", typed.write(record.sealed()))


def shards_of(whole: Window, side: int) -> list[Shard]:
    """The shards of a scene, row-major. side: of a shard, in pixels."""
    return [Shard(f"r{w.row // side:05d}c{w.col // side:05d}", w) for w in blocks(whole, side, side)]


def _row(shard: str) -> str:
    """The folder, in the store, of the row of a shard.

    >>> _row("r00002c00000")
    'shards/r00002'
    """
    return f"shards/{shard.partition('c')[0]}"


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


def start(place: Place, run: Run, *, join: bool, any_size: bool = False) -> Ledger:
    """The store of a run, made, or joined where it holds the same run; any_size: with shards of whatever side.

    Raises RunError when it holds a run and `join` is off, or another run, with every difference.
    """
    store = open_store(place)
    try:
        store.prepare()
        created = store.create(RUN, typed.write(run))
    except RunError:
        raise
    except SegEarthError as e:
        raise RunError(f"--work {store.name}: cannot be written ({e}); choose another folder") from e
    ledger = open_ledger(place)  # without hard links another run may have been quicker
    refuse_other_run(ledger, run, join=join or created, any_size=any_size)
    return ledger


def refuse_other_run(ledger: Ledger, run: Run, *, join: bool, any_size: bool = False) -> None:
    """Raises RunError when a store holds another run than `run`, with every difference, or the same and `join` is off.

    any_size: its shards may have whatever side.
    """
    store = ledger.store
    if any_size:
        run = replace(run, shard_size=ledger.run.shard_size)
    if found := differences(ledger.run, run):
        raise RunError(
            f"--work {store.name}: holds another run; take its options or another folder. "
            f"What differs: {'; '.join(found)}"
        )
    if not join:
        raise RunError(f"--work {store.name}: holds this run already; go on with --resume, or choose another folder")


def open_ledger(place: Place) -> Ledger:
    """The run that a store holds. Raises RunError when it holds none, or one that cannot be read or was changed."""
    store = open_store(place)
    path = f"{store.name.rstrip('/')}/{RUN}"
    try:
        text = store.read(RUN)
        if (values := from_json(text)) and isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
            raise RunError(f"{path}: written by another version of segearth; start anew in another --work folder")
        run = typed.parse(Run, text)
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{store.name}: holds no run.json; name the --work folder of a `segearth predict`") from None
    except (OSError, ValueError) as e:
        raise RunError(f"{path}: cannot be read ({e}); start anew in another --work folder") from None
    if run != run.sealed():
        raise RunError(f"{path}: was changed since it was written (its hash says so); start anew in another folder")
    return Ledger(store, run)
