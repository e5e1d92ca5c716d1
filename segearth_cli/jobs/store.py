"""Where a run keeps its documents and its shards: what is asked of such a store, and a folder as one.

Names within a store are those of a path below it, with slashes. What is written appears under its name when it is
complete. Nothing that is done for one shard lists a folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from segearth_cli.cache import sha256
from segearth_cli.files import clear, create_text, make_folders, recover_all, write_text
from segearth_cli.jobs.lock import claim
from segearth_cli.jobs.place import Place
from segearth_cli.texts import refuse_pipe

RUN = "run.json"  # says what a run is
COLLECTION = "collection.json"  # says what a run was merged to, in a folder of its own


class Store(Protocol):
    """Where a run keeps its documents and its shards."""

    @property
    def name(self) -> str:
        """As users name it."""

    @property
    def temporary(self) -> Path | None:
        """The folder of temporary names of files that are received; None = beside them."""

    @property
    def disk(self) -> Path:
        """A folder of this machine whose disk a shard must fit on."""

    @property
    def at_once(self) -> int:
        """How many questions are asked at once where there are many."""

    def prepare(self) -> None:
        """Makes the place ready for a run, and clears up after dead processes. Raises SegEarthError."""

    def raster(self, name: str) -> str:
        """What GDAL calls a file."""

    def read(self, name: str) -> str:
        """A text. Raises FileNotFoundError, OSError, ValueError for what is none, RunError for a store out of reach."""

    def create(self, name: str, text: str) -> bool:
        """Keeps a text that is not there yet; whether it was this process that did. Raises SegEarthError."""

    def write(self, name: str, text: str) -> None:
        """Keeps a text in place of what has its name. Raises SegEarthError."""

    def wrong(self, name: str, digest: str) -> str:
        """What is wrong with a file that had this SHA-256; nothing when it is as it was."""

    def nbytes(self, name: str) -> int:
        """The bytes of a file; 0 where it is gone, or nobody tells without reading it."""

    def receiving(self, names: Sequence[str]) -> AbstractContextManager[list[Path]]:
        """Paths of this machine to write files to, which are kept when the block succeeds, those that are there."""

    def fetching(self, files: Mapping[str, str]) -> AbstractContextManager[list[Path]]:
        """Paths of this machine to read files from, within the block. files: SHA-256 by name. Raises RunError."""

    def claim(self, name: str, *, wait: bool = False) -> AbstractContextManager[bool]:
        """Whether this process may do what is named; with `wait`, when whoever is at it is through."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of a file system that all processes of a run reach."""

    path: Path
    """Where it is."""

    @property
    def name(self) -> str:
        """As users name it."""
        return str(self.path)

    @property
    def temporary(self) -> Path:
        """The folder of temporary names and locks."""
        return self.path / "temporary"

    @property
    def disk(self) -> Path:
        """The folder itself."""
        return self.path

    @property
    def at_once(self) -> int:
        """A disk answers one question after another."""
        return 1

    def prepare(self) -> None:
        """Makes the folders. What killed processes of this machine left half written is removed.

        What others write stays: on a file system without locks two processes may be at one shard.
        """
        make_folders([self.path / "shards", self.temporary])
        recover_all(self.path)
        clear(self.temporary)

    def raster(self, name: str) -> str:
        """Its path."""
        return str(self.path / name)

    def read(self, name: str) -> str:
        """The text of a file."""
        refuse_pipe(self.path / name)
        return (self.path / name).read_text(encoding="utf-8")

    def create(self, name: str, text: str) -> bool:
        """Makes a file that is not there yet."""
        return create_text(self.path / name, text)

    def write(self, name: str, text: str) -> None:
        """Makes or replaces a file."""
        make_folders([(self.path / name).parent])
        write_text(self.path / name, text, within=self.temporary)

    def wrong(self, name: str, digest: str) -> str:
        """Reads the file, a large one once a machine."""
        path = self.path / name
        if not path.is_file():
            return "is gone"
        return "" if sha256(path) == digest else "has changed since it was written"

    def nbytes(self, name: str) -> int:
        """As the file system tells them."""
        with suppress(OSError):
            return (self.path / name).stat().st_size
        return 0

    @contextmanager
    def receiving(self, names: Sequence[str]) -> Iterator[list[Path]]:
        """The places of the files themselves; whoever writes there takes care that they appear whole."""
        paths = [self.path / name for name in names]
        make_folders({path.parent for path in paths})
        yield paths

    @contextmanager
    def fetching(self, files: Mapping[str, str]) -> Iterator[list[Path]]:
        """The places of the files themselves."""
        yield [self.path / name for name in files]

    def claim(self, name: str, *, wait: bool = False) -> AbstractContextManager[bool]:
        """By a lock of the kernel, which goes with the process that holds it."""
        return claim(self.temporary / f"{name}.lock", wait=wait)


def open_store(place: Place) -> Store:
    """The store at a place: a folder, or a prefix of a bucket. Raises RunError where a library for it is missing."""
    if isinstance(place, Path):
        return Folder(place)
    from segearth_cli.jobs.bucket import Bucket

    return Bucket(place)


def holds_run(place: Place) -> bool:
    """Whether there is a run at a place. Raises RunError when the place cannot be reached."""
    try:
        open_store(place).read(RUN)
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return True
