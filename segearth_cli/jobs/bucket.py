"""A prefix of a bucket as the store of a run: documents and shards are objects, claims are leases.

A claim is an object that only one process can make. Who holds it writes it anew every RENEW seconds; one that nobody
wrote for LEASE seconds, by the clock of the store, is taken over by whoever replaces just that version of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from segearth_cli.cache import sha256
from segearth_cli.disk import telling, temporary_folder
from segearth_cli.errors import RunError
from segearth_cli.files import growing
from segearth_cli.jobs.objects import NEW, Blob, Objects, Version, objects
from segearth_cli.jobs.place import Prefix

LEASE = 60.0  # seconds after which the claim of a process that is gone is anybody's
RENEW = 15.0  # seconds between the writes of a process that holds one
POLL = 2.0  # seconds between looks at a claim that is waited for
AT_ONCE = 32  # questions under way
FETCHED = 8  # files that are received at once
GIVING_BACK = 5.0  # seconds that the end of a claim waits for a write that is under way
SHA256 = "sha256"  # the attribute of an object that tells the hash of its content


@dataclass(frozen=True, slots=True)
class Bucket:
    """A prefix of a bucket that all processes of a run reach."""

    place: Prefix
    """Where it is."""

    @property
    def name(self) -> str:
        """As users name it."""
        return str(self.place)

    @property
    def temporary(self) -> None:
        """None: files that are received lie alone in a folder of their own."""

    @property
    def disk(self) -> Path:
        """The folder for temporary files, where a shard lies until it is sent."""
        return Path(tempfile.gettempdir())

    @property
    def at_once(self) -> int:
        """A network answers many questions at once."""
        return AT_ONCE

    @property
    def _objects(self) -> Objects:
        return objects(self.place)

    def prepare(self) -> None:
        """Tries the bucket."""
        self._objects.now(self.place)

    def raster(self, name: str) -> str:
        """A path of GDAL's virtual file systems."""
        return self.place.raster(name)

    def read(self, name: str) -> str:
        """The text of an object."""
        return self._objects.read(self.place.key(name)).content.decode()

    def create(self, name: str, text: str) -> bool:
        """Makes an object that is not there yet."""
        return self._objects.put(self.place.key(name), text.encode(), NEW) is not None

    def write(self, name: str, text: str) -> None:
        """Makes or replaces an object."""
        self._objects.put(self.place.key(name), text.encode())

    def wrong(self, name: str, digest: str) -> str:
        """Asks for the hash that the object was written with; `fetching` compares that of its content."""
        try:
            known = self._objects.attribute(self.place.key(name), SHA256)
        except FileNotFoundError:
            return "is gone"
        return "" if known == digest else "has changed since it was written"

    def nbytes(self, name: str) -> int:
        """As the store tells them."""
        with suppress(FileNotFoundError):
            return self._objects.nbytes(self.place.key(name))
        return 0

    @contextmanager
    def receiving(self, names: Sequence[str]) -> Iterator[list[Path]]:
        """Paths in a temporary folder; what is there in the end is sent."""
        with temporary_folder() as folder:
            paths = [folder / name.rpartition("/")[2] for name in names]
            yield paths
            for name, path in zip(names, paths, strict=True):
                if path.exists():
                    self._objects.put(self.place.key(name), path, **{SHA256: sha256(path)})

    @contextmanager
    def fetching(self, files: Mapping[str, str]) -> Iterator[list[Path]]:
        """Copies in a temporary folder, compared with their SHA-256."""
        with temporary_folder() as folder:
            paths = [folder / name.rpartition("/")[2] for name in files]
            with ThreadPoolExecutor(FETCHED) as pool:
                [*pool.map(self._fetch, files, files.values(), paths)]
            yield paths

    def _fetch(self, name: str, digest: str, path: Path) -> None:
        found = hashlib.sha256()
        try:
            with growing(path, resumed=False) as f:
                for piece in self._objects.pieces(self.place.key(name)):
                    found.update(piece)
                    with telling(path):
                        f.write(piece)
        except FileNotFoundError:
            raise RunError(f"{self.place / name}: is gone; compute it again with --resume") from None
        if found.hexdigest() != digest:
            raise RunError(
                f"{self.place / name}: has changed since it was written; remove it and compute it again with --resume"
            )

    @contextmanager
    def claim(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """By a lease, which ends LEASE seconds after the last sign of the process that holds it."""
        lease = _Lease(self._objects, self.place, f"temporary/{name}.lock")
        if not lease.take(wait=wait):
            yield False
            return
        with lease.kept():
            yield True


class _Lease:
    """A claim of this process, written anew as long as it is held."""

    def __init__(self, objects: Objects, place: Prefix, name: str) -> None:
        self._objects, self._place, self._key = objects, place, place.key(name)
        self._owner = uuid.uuid4().hex
        self._writes = 0  # no two versions have the same content, by which some stores tell them apart
        self._version: Version | None = None
        self._written = 0.0  # by time.monotonic
        self._other: Blob | None = None

    def take(self, *, wait: bool) -> bool:
        """Whether this process holds it now; with `wait`, when whoever has it gives it back or is gone."""
        while not self._write(NEW):
            other = self._other
            lapsed = other is not None and self._objects.now(self._place) - other.written > LEASE
            if other is not None and lapsed and self._write(other.version):
                return True
            if not wait:
                return False
            time.sleep(POLL)
        return True

    def _write(self, condition: str | Version) -> bool:
        """Writes it where the condition holds; whether it is this process's then."""
        began, self._writes = time.monotonic(), self._writes + 1
        text = json.dumps({"owner": self._owner, "process": os.getpid(), "write": self._writes})
        self._version = self._objects.put(self._key, text.encode(), condition) or self._own()
        self._written = began
        return self._version is not None

    def _own(self) -> Version | None:
        """Its version when it is this process's, by a write whose answer was lost; else remembers whose it is."""
        try:
            self._other = self._objects.read(self._key)
        except FileNotFoundError:
            self._other = None
            return None
        return self._other.version if self._owner.encode() in self._other.content else None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Holds it within the block, and gives it back."""
        done = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(done,), daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join(GIVING_BACK)
            if self._version is not None and time.monotonic() - self._written < LEASE / 2:  # so it is nobody else's yet
                with suppress(RunError):
                    self._objects.delete(self._key)

    def _keep(self, done: threading.Event) -> None:
        while self._version is not None and not done.wait(RENEW):
            with suppress(RunError):  # the next time may be soon enough
                self._write(self._version)
