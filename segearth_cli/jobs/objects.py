"""Objects of a bucket by the library obstore: written whole, under a condition where asked for; errors are one line.

Credentials are those of the environment. No URL that is signed leaves this module.
"""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from segearth_cli.console import without_secrets
from segearth_cli.errors import RunError
from segearth_cli.jobs.place import Prefix

PIECE = 1 << 20  # bytes that are received at once
RETRIES = 8  # of a request, each later than the one before, within PATIENCE
PATIENCE = timedelta(seconds=120)
ENDPOINT = "AWS_ENDPOINT_URL"  # another server than Amazon's

_CODE = re.compile(r"<Code>([^<]{1,60})</Code>(?:\s*<Message>([^<]{1,200}))?")
_NO_BUCKET = re.compile(r"NoSuchBucket|bucket does not exist", re.IGNORECASE)

Version = Mapping[str, str]  # what tells a version of an object from all others
NEW = "create"  # the condition that there is no such object


@dataclass(frozen=True, slots=True)
class Blob:
    """An object as it was read."""

    content: bytes
    """All of it."""
    version: Version
    """Which version it is."""
    written: float
    """When it was written, by the clock of the store, in seconds since 1970."""


class Objects:
    """The objects of a bucket. All methods raise RunError when it cannot be reached, or refuses."""

    def __init__(self, scheme: str, bucket: str) -> None:
        self._name = f"{scheme}://{bucket}"
        self._library = _obstore(self._name)
        self._ahead: float | None = None  # seconds that the clock of the store is ahead of ours; None = not tried yet
        self._trying = threading.Lock()
        kind = {"s3": self._library.store.S3Store, "gs": self._library.store.GCSStore}[scheme]
        plain = os.environ.get(ENDPOINT, "").startswith("http://")
        options = {"connect_timeout": "10s", **({"allow_http": True} if plain and scheme == "s3" else {})}
        with self._telling():
            self._store = kind(
                bucket, client_options=options, retry_config={"max_retries": RETRIES, "retry_timeout": PATIENCE}
            )

    def read(self, key: str) -> Blob:
        """An object. Raises FileNotFoundError."""
        with self._telling():
            got = self._library.get(self._store, key)
            return Blob(bytes(got.bytes()), _version(got.meta), got.meta["last_modified"].timestamp())

    def pieces(self, key: str) -> Iterator[bytes]:
        """The content of a large object. Raises FileNotFoundError."""
        with self._telling():
            for piece in self._library.get(self._store, key).stream(min_chunk_size=PIECE):
                yield bytes(piece)

    def attribute(self, key: str, name: str) -> str | None:
        """What an object was given along with its content. Raises FileNotFoundError."""
        with self._telling():
            found: str | None = self._library.get(self._store, key, options={"head": True}).attributes.get(name)
            return found

    def nbytes(self, key: str) -> int:
        """The size of an object. Raises FileNotFoundError."""
        with self._telling():
            return int(self._library.head(self._store, key)["size"])

    def put(
        self, key: str, data: bytes | Path, condition: str | Version | None = None, **attributes: str
    ) -> Version | None:
        """Writes an object; which version it is then, None where the condition does not hold.

        condition: NEW, or the version that is to be replaced; None = whatever is there.
        """
        refusals = (self._library.exceptions.AlreadyExistsError, self._library.exceptions.PreconditionError)
        mode = "overwrite" if condition is None else condition
        try:
            with self._telling(refusals):
                return _version(self._library.put(self._store, key, data, mode=mode, attributes=attributes or None))
        except refusals:
            return None
        except FileNotFoundError as e:
            if isinstance(condition, Mapping):
                return None  # the version that was to be replaced is gone
            raise RunError(f"{self._name}: {key} cannot be written ({e})") from None

    def delete(self, key: str) -> None:
        """Removes an object, if there is one."""
        with suppress(FileNotFoundError), self._telling():
            self._library.delete(self._store, key)

    def now(self, place: Prefix) -> float:
        """The time by the clock of the store, in seconds since 1970. It is tried once a process, below `place`.

        Raises RunError when it does not honour conditions, by which processes keep out of each other's way.
        """
        with self._trying:
            if self._ahead is None:
                self._ahead = self._tried(place)
        return time.time() + self._ahead

    def _tried(self, place: Prefix) -> float:
        key = place.key(f"temporary/probe-{uuid.uuid4().hex}")
        first = self.put(key, b"1", NEW)
        try:
            ahead = self.read(key).written - time.time()
            second = self.put(key, b"2", first)
            if first and second and not self.put(key, b"3", NEW) and not self.put(key, b"4", first):
                return ahead
        finally:
            self.delete(key)
        raise RunError(
            f"{place}: its server takes no conditional writes (If-None-Match, If-Match), by which processes share a "
            "run; name a folder, or a bucket of a server that does"
        )

    @contextmanager
    def _telling(self, passed: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """What the library raises as one line; FileNotFoundError stays, and so do those that are `passed`."""
        try:
            yield
        except passed:
            raise
        except FileNotFoundError as e:
            if _NO_BUCKET.search(str(e)):
                raise RunError(f"{self._name}: no such bucket; make it, or name another --work") from None
            raise FileNotFoundError("not in the bucket") from None
        except (OSError, self._library.exceptions.BaseError) as e:
            raise RunError(f"{self._name}: {_said(e)}") from None


@lru_cache(maxsize=64)
def _opened(scheme: str, bucket: str, _endpoint: str | None) -> Objects:
    return Objects(scheme, bucket)


def objects(place: Prefix) -> Objects:
    """The objects of the bucket of a prefix. Raises RunError where obstore is not installed."""
    return _opened(place.scheme, place.bucket, os.environ.get(ENDPOINT))


def _obstore(name: str) -> Any:
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError:
        raise RunError(f"{name}: needs obstore, which is not installed; pip install 'segearth[cloud]'") from None
    return obstore


def _version(meta: Mapping[str, Any]) -> Version:
    return {key: meta[key] for key in ("e_tag", "version") if meta.get(key)}


def _said(error: Exception) -> str:
    """What a server or the library says, in one line."""
    text = str(error)
    if code := _CODE.search(text):
        return ": ".join(part.strip() for part in code.groups() if part)
    return without_secrets(" ".join(text.partition("\n\n")[0].split()))[:300]
