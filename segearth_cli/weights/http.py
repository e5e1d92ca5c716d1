"""Bytes over HTTP into a file: with time limits, tries with growing pauses, and resuming where a try stopped."""

from __future__ import annotations

import errno
import json
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, InvalidURL
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from segearth_cli.errors import UsageError, WeightsError
from segearth_cli.files import growing, remove, write_text
from segearth_cli.options import whole
from segearth_cli.version import __version__

Report = Callable[[int, int | None], None]  # bytes here, bytes in all; None = the server does not say

_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG}
_CHUNK = 1 << 18
_PORTS = {"https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
_PROXY_SECONDS = 10.0  # that a proxy may take to answer


@dataclass(frozen=True, slots=True)
class Patience:
    """When to give up. Tries that brought the file forward do not count."""

    timeout: float = 30.0
    """Seconds without a byte after which a try has failed."""
    tries: int = 5
    """How many in a row may bring nothing."""
    pause: float = 1.0
    """Seconds before the second try; they double from try to try."""
    longest: float = 30.0
    """Seconds that a pause grows to."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a partial file is a part of, kept beside it."""

    url: str
    """Where it comes from."""
    validator: str
    """The server's ETag or Last-Modified; empty = it gave none."""
    total: int | None
    """Bytes of the whole file; None = the server did not say."""


class _TryFailedError(Exception):
    """A try that failed in a way that the next one may not."""


def fetch(url: str, part: Path, *, patience: Patience, report: Report) -> None:
    """Brings what `url` holds into `part`, going on from what an earlier call left there.

    Proxies come from the environment. Raises WeightsError when the server refuses or tries run out (`part` stays for
    the next call) and UsageError for an address that is none.
    """
    if why := unreachable(url):  # which seconds of tries would not change
        raise WeightsError(f"{url}: {why}")
    furthest, tries = -1, 0
    while True:
        try:
            _try(url, part, patience.timeout, report)
            remove(_origin_file(part))
            return
        except _TryFailedError as e:
            size = part.stat().st_size if part.exists() else 0
            tries = 1 if size > furthest else tries + 1
            furthest = max(furthest, size)
            if tries >= patience.tries:
                kept = f"; the same command goes on from byte {size}" if size else ""
                raise WeightsError(f"{url}: {e} ({tries} tries){kept}") from None
        time.sleep(min(patience.pause * 2 ** (tries - 1), patience.longest))


def unreachable(url: str) -> str:
    """Why the host of an address cannot be reached, as without a network or with a proxy that is not there.

    Empty where nothing speaks against it, or there is no address.
    """
    with suppress(ValueError):
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname
        proxies = urllib.request.getproxies()
        if host and (proxy := proxies.get(scheme) or proxies.get("all")) and not urllib.request.proxy_bypass(host):
            return _silent(proxy, scheme)
        if host:
            try:
                socket.getaddrinfo(host, None)
            except OSError as e:
                return f"{host} is not found ({e.strerror}); is there a network?"
    return ""


def _silent(proxy: str, scheme: str) -> str:
    """Why nobody answers where a proxy should be, empty when somebody does."""
    place = urlsplit(proxy if "://" in proxy else f"//{proxy}")
    port = place.port or _PORTS.get(place.scheme, 80)
    try:
        socket.create_connection((place.hostname or "", port), timeout=_PROXY_SECONDS).close()
    except OSError as e:
        return (
            f"the proxy {place.hostname}:{port}, which the environment names for {scheme}, does not answer "
            f"({e.strerror or e}); set another {scheme}_proxy, or none"
        )
    return ""


def discard(part: Path) -> None:
    """Removes a partial file, and what is known of it."""
    remove(part)
    remove(_origin_file(part))


def _try(url: str, part: Path, timeout: float, report: Report) -> None:
    origin, offset = _resumable(url, part)
    if origin and offset == origin.total:
        return
    headers = {"User-Agent": f"segearth/{__version__}", "Accept-Encoding": "identity"}
    if origin and offset:
        headers["Range"] = f"bytes={offset}-"
        if origin.validator:
            headers["If-Range"] = origin.validator
    opener = urllib.request.build_opener()  # the shared one remembers the proxies of its first call
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
            _receive(response, part, origin, offset, url, report)
    except HTTPError as e:
        _refused(e, url, part)
    except URLError as e:
        if isinstance(e.reason, ssl.SSLCertVerificationError):
            raise WeightsError(f"{url}: its certificate is not valid here: {e.reason.verify_message}") from None
        raise _TryFailedError(f"no connection: {e.reason}") from None
    except (InvalidURL, ValueError) as e:
        raise UsageError(f"{url}: no address to fetch from: {e}") from None
    except TimeoutError:
        raise _TryFailedError(f"nothing came for {timeout:g} s") from None
    except (OSError, HTTPException) as e:
        if isinstance(e, OSError) and e.errno in _DISK:
            raise WeightsError(f"{part.parent}: cannot be written: {e.strerror}") from None
        raise _TryFailedError(f"the connection broke: {e or type(e).__name__}") from None


def _receive(response: HTTPResponse, part: Path, origin: Origin | None, offset: int, url: str, report: Report) -> None:
    if (packed := response.headers.get("Content-Encoding", "identity").strip().casefold()) not in ("", "identity"):
        raise WeightsError(f"{url}: the server packs it ({packed}) though asked not to; get it by hand, for --from")
    resumed = response.status == 206
    total = _total(response)
    if resumed and (origin is None or _start(response) != offset or total != origin.total):
        discard(part)
        raise _TryFailedError("the file changed on the server, or it resumes elsewhere than asked")
    if not resumed:
        offset = 0
        validator = response.headers.get("ETag") or ""
        if not validator or validator.startswith("W/"):
            validator = response.headers.get("Last-Modified") or ""
        remove(part)
        write_text(_origin_file(part), json.dumps({"url": url, "validator": validator, "total": total}))
    with growing(part, resumed=resumed) as f:
        while chunk := response.read(_CHUNK):
            f.write(chunk)
            offset += len(chunk)
            report(offset, total)
    if total is not None and offset < total:
        raise _TryFailedError(f"ended after {offset} of {total} bytes")


def _refused(error: HTTPError, url: str, part: Path) -> None:
    if error.code == 416:  # what is here is no beginning of what the server has
        discard(part)
        raise _TryFailedError("the server cannot resume") from None
    if error.code in _AGAIN:
        raise _TryFailedError(f"the server answers {error.code} {error.reason}") from None
    why = str(error.reason).partition("\n")[0]
    raise WeightsError(f"{url}: the server answers {error.code} {why}") from None


def _resumable(url: str, part: Path) -> tuple[Origin | None, int]:
    """What `part` is a part of and its size, when it comes from the same address; else nothing is left of it."""
    with suppress(OSError, ValueError, TypeError):
        origin = Origin(**json.loads(_origin_file(part).read_text()))
        size = part.stat().st_size
        if origin.url == url and origin.total is not None and size <= origin.total:
            return origin, size
    discard(part)
    return None, 0


def _total(response: HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length") if response.status != 206 else _content_range(response)[1]
    return whole(text or "")


def _start(response: HTTPResponse) -> int | None:
    return whole(_content_range(response)[0].removeprefix("bytes").strip().partition("-")[0])


def _content_range(response: HTTPResponse) -> tuple[str, str]:
    span, _, total = (response.headers.get("Content-Range") or "").partition("/")
    return span, total


def _origin_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
