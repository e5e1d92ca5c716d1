"""Where a run may be kept: in a folder, or below a prefix of a bucket, by the name that users give."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from segearth_cli.errors import UsageError

_BUCKET = re.compile(r"(?P<scheme>s3|gs)://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]*)(?:/(?P<prefix>.*))?", re.DOTALL)
_GDAL = {"s3": "vsis3", "gs": "vsigs"}


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prefix in a bucket; `/` and `absolute` are those of a Path."""

    scheme: str
    """s3 or gs."""
    bucket: str
    """The name of the bucket."""
    prefix: str = ""
    """What names begin with, without the slash that ends it; empty = those of the whole bucket."""

    def __str__(self) -> str:
        return "/".join(filter(None, (f"{self.scheme}://{self.bucket}", self.prefix)))

    def __truediv__(self, name: str) -> Prefix:
        return Prefix(self.scheme, self.bucket, self.key(name))

    def absolute(self) -> Prefix:
        """The same prefix: it does not depend on the current folder."""
        return self

    def key(self, name: str) -> str:
        """The key, in the bucket, of what has a name below the prefix."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def raster(self, name: str) -> str:
        """What GDAL calls what has a name below the prefix.

        >>> Prefix("s3", "bucket", "runs/a").raster("mask.vrt")
        '/vsis3/bucket/runs/a/mask.vrt'
        """
        return f"/{_GDAL[self.scheme]}/{self.bucket}/{self.key(name)}"


Place = Path | Prefix


def parse_place(text: str) -> Place:
    """The folder or the prefix that a text names. Raises UsageError for a bucket or a prefix that none can have.

    >>> print(parse_place("s3://bucket/runs/a/"), parse_place("runs/a"))
    s3://bucket/runs/a runs/a
    """
    if not text.startswith(("s3://", "gs://")):
        return Path(text)
    match = _BUCKET.fullmatch(text)
    prefix = ((match and match["prefix"]) or "").rstrip("/")
    if match is None or "//" in prefix or prefix.startswith("/") or {".", ".."} & {*prefix.split("/")}:
        raise UsageError(f"{text}: names no place in a bucket; need {text[:5]}BUCKET/PREFIX")
    if re.search(r"[?#*\x00-\x1f\\]", prefix):
        raise UsageError(f"{text}: a prefix with ?, #, * or \\; need {text[:5]}BUCKET/PREFIX")
    return Prefix(match["scheme"], match["bucket"], prefix)
