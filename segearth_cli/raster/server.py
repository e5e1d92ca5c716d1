"""What a web server says of a file, which GDAL keeps to itself: its ETag, its time of change, its size."""

from __future__ import annotations

import base64
import os
import re
import urllib.request
from http.client import HTTPException
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from segearth_cli.errors import RasterError
from segearth_cli.raster.paths import ARCHIVES
from segearth_cli.version import __version__

SECONDS = 10.0  # until a server that does not answer is taken to say nothing
_ASKED = 1  # the byte asked for: the first one comes from servers too that give the beginning whatever is asked
_FIRST = re.compile(rf"\s*bytes\s+0*{_ASKED}-", re.IGNORECASE)
_INSIDE = re.compile(r"(\.(?:zip|tar|tgz|tar\.gz|gz|7z|rar|kmz|ods|xlsx))/.*", re.IGNORECASE)


def server_says(name: str) -> dict[str, str]:
    """ETag, Last-Modified and bytes of a file by its name of GDAL's, as far as its server tells.

    Nothing for what is not reached by HTTP or where the server refuses: signed stores (`/vsis3/`) keep their secrets
    with GDAL. One byte is asked for rather than the headers alone, as addresses may be signed for reading.

    Raises RasterError where the server gives another one: GDAL takes whatever comes for what it asked for.
    """
    address, headers = _address(name)
    if urlsplit(address).scheme not in ("http", "https"):
        return {}
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.build_opener().open(request, timeout=SECONDS) as answer:
            told = {key: str(answer.headers[key]) for key in ("ETag", "Last-Modified") if answer.headers[key]}
            span, _, total = (answer.headers["Content-Range"] or "").rpartition("/")
            size = total if answer.status == 206 else answer.headers["Content-Length"] or ""
    except (OSError, HTTPException, ValueError):
        return {}
    if answer.status == 206 and span and _FIRST.match(span) is None:
        raise RasterError(
            f"{name.removeprefix('/vsicurl/')}: asked for byte {_ASKED} its server, or a proxy before it, gives "
            f"{span.strip()}, so pixels read from it may be others; copy the file to this machine"
        )
    return told | ({"bytes": size} if size.isdecimal() else {})


def _address(name: str) -> tuple[str, dict[str, str]]:
    """The URL behind a name of GDAL's, and the headers that GDAL is told to send."""
    while name.startswith(ARCHIVES):
        name = _INSIDE.sub(r"\1", name[1:].partition("/")[2])
    headers = {
        "User-Agent": f"segearth/{__version__}",
        "Accept-Encoding": "identity",
        "Range": f"bytes={_ASKED}-{_ASKED}",
    }
    for line in os.environ.get("GDAL_HTTP_HEADERS", "").split(","):
        key, colon, value = line.strip().strip('"').partition(":")
        headers |= {key.strip(): value.strip()} if colon else {}
    if name.startswith("/vsicurl?"):
        options = dict(parse_qsl(name.partition("?")[2]))
        headers |= {key.removeprefix("header."): value for key, value in options.items() if key.startswith("header.")}
        name = options.get("url", "")
    parts = urlsplit(name.removeprefix("/vsicurl/"))
    owner, at, host = parts.netloc.rpartition("@")
    owner = unquote(owner) if at else os.environ.get("GDAL_HTTP_USERPWD", "")
    if owner:
        headers["Authorization"] = "Basic " + base64.b64encode(owner.encode()).decode()
    elif token := os.environ.get("GDAL_HTTP_BEARER", ""):
        headers["Authorization"] = f"Bearer {token}"
    return urlunsplit(parts._replace(netloc=host)), headers
