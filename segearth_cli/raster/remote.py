"""Rasters over the network: how GDAL is to read them, and trying again after errors that may pass."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.env import getenv, hasenv
from rasterio.errors import RasterioError
from rasterio.session import AWSSession, DummySession, Session

from segearth_cli.errors import SegEarthError, said
from segearth_cli.raster.paths import local_path

T = TypeVar("T")

REMOTE = ("curl", "s3", "gs", "az", "adls", "oss", "swift", "hdfs", "webhdfs")  # of GDAL's virtual file systems
CLOUD = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_TIME": "15",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_TIMEOUT": "120",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "VSI_CACHE": "FALSE",  # gives zeros, which read as holes, for what could not be fetched
    "GTIFF_USE_DEFER_STRILE_LOADING": "NO",  # an index of tiles that did not arrive reads as holes too
}
PAUSES = (2, 6, 18)  # between tries, in units of GDAL_HTTP_RETRY_DELAY; then reading is given up
UNREADABLE = (RasterioError, CPLE_BaseError, OSError, ValueError, SystemError)  # what rasterio raises
_NETWORK = re.compile(rb"/vsi(?:%b)|\b(?:https?|ftp|s3|gs|az)://" % "|".join(REMOTE).encode())
_MOST_OF_VRT = 1 << 24  # bytes that are looked through
LASTING = ("HTTP response code: 40", "HTTP error code : 40")


def gdal_settings(*, remote: bool, **settings: Any) -> rasterio.Env:
    """Settings of GDAL for one thread of work, with keys to a cloud where what it reads may be `remote`.

    By itself rasterio has boto3 look for keys each time where AWS_ACCESS_KEY_ID is set: 5 ms, for local files too.
    """
    return rasterio.Env(_session() if remote else DummySession(), **settings)


def _session() -> Session:
    """The keys of the environment; those that a caller's own `rasterio.Env` holds stay in force."""
    by_environment = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= os.environ.keys()
    if not by_environment or (hasenv() and AWSSession.hascreds(getenv())):
        return DummySession()
    return _session_of(tuple((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))


@lru_cache(maxsize=1)
def _session_of(_variables: tuple[tuple[str, str], ...]) -> Session:
    return Session.from_environ()


def network_settings() -> dict[str, str]:
    """GDAL's settings for what is read over the network; what the user's environment sets stays."""
    wanted = CLOUD | _endpoint(os.environ.get("AWS_ENDPOINT_URL", ""))
    return {name: value for name, value in wanted.items() if name not in os.environ}


def _endpoint(url: str) -> dict[str, str]:
    """GDAL's settings for a server of `s3://` that is not Amazon's, from the variable that all others know.

    >>> _endpoint("http://127.0.0.1:9000")
    {'AWS_S3_ENDPOINT': '127.0.0.1:9000', 'AWS_HTTPS': 'NO', 'AWS_VIRTUAL_HOSTING': 'FALSE'}
    """
    scheme, _, host = url.rstrip("/").partition("://")
    https = "NO" if scheme == "http" else "YES"
    return {"AWS_S3_ENDPOINT": host, "AWS_HTTPS": https, "AWS_VIRTUAL_HOSTING": "FALSE"} if host else {}


def is_remote(path: str) -> bool:
    """Whether GDAL reads a path over the network.

    >>> is_remote("https://host/x.tif"), is_remote("/vsizip//vsicurl/http://host/x.zip"), is_remote("x.tif")
    (True, True, False)
    """
    scheme = urlsplit(path).scheme if "://" in path else ""
    return scheme not in ("", "file", "zip", "tar") or any(f"/vsi{kind}" in path for kind in REMOTE)


def vrt_names_network(name: str) -> bool:
    """Whether a VRT of this machine names anything on the network; False for any other file."""
    place = local_path(name)
    if place is None or place.suffix.casefold() != ".vrt":
        return False
    with suppress(OSError), place.open("rb") as file:
        text = file.read(_MOST_OF_VRT)
        return (b"://" in text or b"/vsi" in text) and _NETWORK.search(text) is not None  # in a mosaic: 2 ms, not 90
    return False


def patiently(path: str, act: Callable[[], T], *, remote: bool) -> T:
    """What `act` returns; over the network it is tried again after errors that may pass, later each time.

    remote: whether `path` or what it refers to lies there. GDAL's own retries come first; these are for what it does
    not count as passing, such as an answer cut short. Errors of ours are final: what they tell was looked at.
    """
    unit = float(CLOUD["GDAL_HTTP_RETRY_DELAY"])
    with suppress(ValueError):  # as GDAL does with what is no number
        unit = float(os.environ.get("GDAL_HTTP_RETRY_DELAY", unit))
    for pause in PAUSES if remote else ():
        try:
            return act()
        except UNREADABLE as e:
            if isinstance(e, SegEarthError) or any(sign in reason(e) for sign in LASTING):
                raise
            time.sleep(pause * unit * random.uniform(0.8, 1.2))
            forget(path)
    return act()


def forget(path: str) -> None:
    """Drops what GDAL keeps of a remote file, in case an answer was cut short."""
    everything = ":".join(f"/vsi{kind}/" for kind in REMOTE)
    settings = network_settings() | {"CPL_VSIL_CURL_NON_CACHED": everything}
    with gdal_settings(remote=True, **settings), suppress(*UNREADABLE):
        with rasterio.open(path) as ds:
            sources = [name for name in ds.files if name != path and is_remote(name)]
        for source in sources:
            rasterio.open(source).close()


def reason(error: BaseException) -> str:
    """The innermost reason that GDAL gives."""
    while error.__cause__ is not None and str(error.__cause__):
        error = error.__cause__
    return said(error)
