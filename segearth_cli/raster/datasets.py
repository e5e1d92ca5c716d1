"""Datasets of GDAL: opened quietly, with settings for one thread of work, and told in one line when they cannot be."""

from __future__ import annotations

import logging
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import rasterio
from affine import Affine
from rasterio.env import hasenv
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from segearth_cli.errors import RasterError
from segearth_cli.raster import untrusted
from segearth_cli.raster.complete import cut_short
from segearth_cli.raster.paths import local_path, readable, refuse_pipes_beside
from segearth_cli.raster.remote import (
    UNREADABLE,
    gdal_settings,
    is_remote,
    network_settings,
    patiently,
    reason,
    vrt_names_network,
)

T = TypeVar("T")

CACHE_MB = 256  # of decoded blocks, for all threads together, at most: what a plan counts
LEAST_CACHE = 256  # bytes: a block is written once it is whole, and decoded anew where it is read again
LISTING = "GDAL_DISABLE_READDIR_ON_OPEN"  # TRUE: side files are asked for by name; no folder of 10,000 scenes is listed


def environment(path: str = "", *, remote: bool = False, cache: int = LEAST_CACHE) -> rasterio.Env:
    """GDAL's settings for one thread of work: a bounded cache, its messages to Python's logging instead of stderr.

    Where the path, or what it refers to (`remote`), lies on the network also those that cloud-optimised GeoTIFFs want.
    cache: bytes of decoded blocks.
    """
    far = remote or is_remote(path)
    settings = network_settings() if far else {} if LISTING in os.environ else {LISTING: "TRUE"}
    if untrusted.from_strangers():
        settings |= untrusted.SETTINGS | ({} if far else untrusted.OFFLINE)
    settings |= {"COMPRESS_OVERVIEW": "DEFLATE", "SPARSE_OK_OVERVIEW": "TRUE"}
    return gdal_settings(remote=far, GDAL_CACHEMAX=cache, **settings)


class _CutShortError(RasterioError):  # type: ignore[misc]
    """A picture ends early: over the network perhaps because an answer did."""


def open_dataset(path: str | Path, *, remote: bool = False, **options: Any) -> Any:
    """A dataset of rasterio open for reading, in patience over the network.

    remote: whether files that it refers to are known to lie there; `reads_network` tells.

    Raises RasterError when the file is absent or GDAL cannot read it.
    """
    name = str(path)
    if untrusted.from_strangers():
        return _open_untrusted(name, **options)
    return _open(name, remote=remote, **options)


@contextmanager
def opened_dataset(path: str | Path) -> Iterator[Any]:
    """A dataset of `open_dataset` that is closed at the end, with rasterio's settings where none are in force."""
    settings = (
        nullcontext() if hasenv() else gdal_settings(remote=is_remote(str(path)), **rasterio.Env.default_options())
    )
    with settings, open_dataset(path) as dataset:
        yield dataset


def _open_untrusted(name: str, **options: Any) -> Any:
    """A dataset that a stranger gave, once it and all that it names are looked through.

    rasterio's reader takes a list of drivers, its `open` takes one.
    """
    sources, todo = set[str](), [name]
    while todo:
        source = todo.pop()
        if source not in sources:
            sources.add(source)
            readable(source)
            todo += untrusted.vrt_sources(source)
    for source in sources - {name}:
        with _open(source, opened=DatasetReader, driver=untrusted.drivers(source)) as dataset:
            untrusted.check_size(source, dataset)
    dataset = _open(name, opened=DatasetReader, driver=untrusted.drivers(name), **options)
    try:
        untrusted.check_size(name, dataset)
    except RasterError:
        dataset.close()
        raise
    return dataset


def _open(name: str, *, remote: bool = False, opened: Callable[..., Any] = rasterio.open, **options: Any) -> Any:
    def act() -> Any:
        with environment(name, remote=remote), quietly() as heard:
            dataset = opened(asked, **options)
            if dataset.driver == "VRT":
                _refuse_pipes_among(dataset)
            if heard.nowhere:
                dataset._transform = list(Affine.identity().to_gdal())
            if short := cut_short(dataset):
                dataset.close()
                what = f"its source {short}" if dataset.driver == "VRT" else f"the {dataset.driver}"
                raise _CutShortError(
                    f"{name}: cut short: {what} ends before its picture does; copy or download it again"
                )
            return dataset

    asked = readable(name)
    remote = remote or is_remote(name) or vrt_names_network(name)
    try:
        dataset = patiently(name, act, remote=remote)
    except _CutShortError as e:
        raise RasterError(str(e)) from None
    except RasterError:
        raise
    except (*UNREADABLE, TypeError) as e:
        raise RasterError(f"{name}: not a raster that GDAL can read ({reason(e)})") from e
    if "overview_level" not in options:  # rasterio shows what lay in memory where GDAL knows no geotransform of one
        _refuse_nowhere(name, dataset)
    return dataset


def _refuse_pipes_among(vrt: Any) -> None:
    """Raises RasterError where a source of a VRT, or its overviews, are a pipe: GDAL would wait for ever."""
    try:
        _look_for_pipes(vrt.name, tuple(vrt.files[1:]))
    except RasterError:
        vrt.close()
        raise


@lru_cache(maxsize=16)  # a scene is opened several times in a row, and mosaics have thousands of sources
def _look_for_pipes(vrt: str, sources: tuple[str, ...]) -> None:
    for name in sources:
        if source := local_path(name):
            refuse_pipes_beside(Path(vrt), (name, f"{source}.ovr", f"{source}.OVR"))


def _refuse_nowhere(name: str, dataset: Any) -> None:
    """Raises RasterError for a geotransform that gives pixels no place, or all one: not a number, or without area."""
    if dataset.gcps[0] or dataset.rpcs:
        return  # they give it; of a geotransform that is not there rasterio shows what lay in memory
    a, b, _, d, e, _ = values = dataset.transform[:6]
    if not (all(map(math.isfinite, values)) and math.isfinite(area := a * e - b * d) and area):
        dataset.close()
        shown = ", ".join(f"{value:g}" for value in values)
        raise RasterError(f"{name}: its geotransform ({shown}) places no pixel; set it with gdal_edit -a_ullr")


class Patient:
    """A dataset open for reading; over the network it is opened anew and asked again after errors that may pass.

    through: what is laid over the dataset and asked in its place, such as a WarpedVRT.
    """

    def __init__(self, path: str | Path, through: Callable[[Any], Any] = lambda dataset: dataset) -> None:
        self._path, self._through = str(path), through
        self._dataset = open_dataset(path)
        self._remote = reads_network(self._dataset)
        self._asked: Any = None

    def ask(self, question: Callable[[Any], T]) -> T:
        """What `question` returns of the dataset. Raises what rasterio raises, and RasterError."""

        def once() -> T:
            if self._dataset.closed:
                self._dataset = open_dataset(self._path, remote=self._remote)
            try:
                with environment(self._path, remote=self._remote):
                    self._asked = self._through(self._dataset) if self._asked is None else self._asked
                    return question(self._asked)
            except UNREADABLE:
                self.close()
                raise

        return patiently(self._path, once, remote=self._remote)

    def close(self) -> None:
        """Close the dataset."""
        if self._asked is not None:
            self._asked.close()
            self._asked = None
        self._dataset.close()


def named_files(dataset: Any) -> list[str]:
    """The files that a dataset consists of, by GDAL's names. Raises RasterError where one has no name in UTF-8."""
    try:
        with environment(dataset.name):
            return list(dataset.files)
    except UnicodeDecodeError:
        raise RasterError(f"{dataset.name}: names a file that is not UTF-8 text; rename that file") from None


def reads_network(dataset: Any) -> bool:
    """Whether a dataset or one of the files that it refers to, such as a source of a VRT, lies on the network."""
    return is_remote(dataset.name) or any(_leads_there(name, {dataset.name}) for name in named_files(dataset))


def _leads_there(name: str, seen: set[str]) -> bool:
    """Whether a file lies on the network, or is a VRT that leads there; seen: names that were asked already."""
    if is_remote(name) or name in seen or not name.casefold().endswith(".vrt"):
        return is_remote(name)
    seen.add(name)
    try:
        with opened_dataset(name) as inner:
            return any(_leads_there(source, seen) for source in named_files(inner))
    except RasterError:  # told when its pixels are asked for
        return False


class Heard(threading.local):
    """What rasterio warned of in this thread since it became quiet."""

    nowhere: bool = False
    """Whether a raster has no geotransform, and no points."""


class _Quiet:
    """Warnings about rasters without a place on the ground, and fiona's about fields, left out while anyone is inside.

    Python keeps one list of warning filters for all threads: the first to come in changes it, the last to leave puts
    it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()
        self._show: Callable[..., None] = warnings.showwarning
        self.heard = Heard()

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                self._show, warnings.showwarning = warnings.showwarning, self._hear  # type: ignore[assignment]
                warnings.simplefilter("always", NotGeoreferencedWarning)
                warnings.filterwarnings("ignore", module=r"(fiona|segearth_cli)\.")  # compiled parts name our line
            self._inside += 1
        self.heard.nowhere = False

    def _hear(self, message: Warning | str, category: type[Warning], *place: Any) -> None:
        if issubclass(category, NotGeoreferencedWarning):
            self.heard.nowhere = True
        else:
            self._show(message, category, *place)

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(None, None, None)


_quiet = _Quiet()


@contextmanager
def quietly() -> Iterator[Heard]:
    """No warnings of rasterio about a missing geotransform, nor of fiona: commands tell what matters in one line.

    Yields what was kept back in this thread.
    """
    _quiet.enter()
    try:
        yield _quiet.heard
    finally:
        _quiet.leave()


@contextmanager
def collecting(found: list[str]) -> Iterator[None]:
    """Adds the errors that GDAL only logs in this thread, such as a disk that fills while a dataset is closed."""
    here = threading.get_ident()  # threads that read ahead have errors of their own, and mend them

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR and record.thread == here:
                found.append(" ".join(record.getMessage().split()))

    logger, handler = logging.getLogger("rasterio"), Collect()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
