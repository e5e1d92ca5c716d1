"""Masks: single-band rasters of class codes, read in strips, with the names and colours they carry."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import MaskFlags, Resampling

from segearth_cli.class_colors import Color, default_color
from segearth_cli.classes import OWN_TAGS, folded
from segearth_cli.errors import RasterError, UsageError, nearest
from segearth_cli.raster.datasets import Patient, environment, opened_dataset
from segearth_cli.raster.georeference import Frame
from segearth_cli.raster.grid import Window
from segearth_cli.raster.remote import UNREADABLE, reason
from segearth_cli.raster.tags import tagged_classes
from segearth_cli.raster.validity import never

STRIP_PIXELS = 1 << 22
_TALLEST_BLOCK = 1 << 25  # pixels of a row of internal blocks that are read at once


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A raster of class codes, and what its file says of them."""

    path: str
    """The file it is read from, as the user gave it."""
    frame: Frame
    """Its size, and where it lies."""
    dtype: np.dtype[Any]
    """Type of the codes, an integer."""
    nodata: int | None
    """The code that means no data, None when there is none that the type can hold."""
    masked: bool
    """Whether a mask band, or the raster `valid`, tells the pixels with data."""
    names: dict[int, str]
    """Class names by code, as far as the file has them."""
    colors: dict[int, Color]
    """Colours by code, as far as the file has them."""
    background: int | None
    """The code of what is no class, or None."""
    block: int
    """Rows of the file's blocks."""
    tags: dict[str, str] = field(default_factory=dict)
    """How it was made, as segearth tells it in tags of its own; empty for masks of others."""
    valid: Path | None = None
    """A raster of the same size, not 0 where there is data, in place of the file's own mask band."""

    @property
    def width(self) -> int:
        """Columns."""
        return self.frame.width

    @property
    def height(self) -> int:
        """Rows."""
        return self.frame.height

    def name(self, code: int) -> str:
        """The class of a code; `class_7` for code 7 without a name."""
        return self.names.get(code) or f"class_{code}"

    def color(self, code: int) -> Color:
        """The colour of a code, one made up when the file has none."""
        return self.colors.get(code) or default_color(self.name(code), code)

    @property
    def rows(self) -> int:
        """Rows of a strip of about 4 million pixels."""
        return max(1, STRIP_PIXELS // self.width)

    def codes(self, names: Collection[str]) -> frozenset[int]:
        """Codes of classes given by name, synonym or code; a name of several codes means all of them.

        Raises UsageError for one that the mask does not know, or takes for no data.
        """
        found = set()
        for name in names:
            number = folded(name).removeprefix("class_")
            named = {code for code, known in self._words() if folded(known) == folded(name)}
            if named:
                found |= named
            elif re.fullmatch(r"-?\d+", number) and (int(number) in self.names or not self.tags):
                found.add(int(number))  # masks of others may have codes that they do not name
            else:
                raise UsageError(f"--classes {name}: {self.path} has no such class{self._instead(name)}")
            if self.nodata in found:
                told = f"{self.path} takes {self.nodata} for no data (gdal_edit.py -unsetnodata makes it a class)"
                raise UsageError(f"--classes {name}: {told}")
        return frozenset(found)

    def _words(self) -> Iterator[tuple[int, str]]:
        """Code and name of each class, and its synonyms, as far as the file tells them."""
        yield from self.names.items()
        if classes := tagged_classes(self.path, self.tags):
            yield from ((code, phrase) for code, own in enumerate(classes.phrases) for phrase in own)

    def _instead(self, name: str) -> str:
        """The end of a line that says that there is no class of this name."""
        names = list(self.names.values())
        near = nearest(name, names)
        hint = f"; did you mean {near}?" if near else ""
        return f", it has {', '.join(names) or 'no class names; give codes'}{hint}"


def read_mask(path: str) -> MaskFile:
    """What a mask file says of itself. Raises RasterError when it is no single-band integer raster."""
    with opened_dataset(path) as ds:
        return _describe(path, ds)


def _describe(path: str, ds: Any) -> MaskFile:
    if ds.count != 1:
        raise RasterError(f"{path}: {ds.count} bands, need a mask of one band (e.g. gdal_translate -b 1)")
    kind = ds.dtypes[0]
    if not kind.startswith(("int", "uint")):  # NumPy has no complex_int16
        raise RasterError(f"{path}: {kind} values, need integer class codes (e.g. gdal_translate -ot Byte)")
    dtype = np.dtype(kind)
    names, colors, background = _classes(path, ds)
    return MaskFile(
        path,
        Frame(ds.height, ds.width, ds.crs, ds.transform, ds.gcps, ds.rpcs),
        dtype,
        _code(ds.nodata, dtype),
        MaskFlags.per_dataset in ds.mask_flag_enums[0],
        names,
        colors,
        background,
        ds.block_shapes[0][0],
        {key: text for key, text in ds.tags().items() if key.startswith(OWN_TAGS)},
    )


def _code(nodata: float | None, dtype: np.dtype[Any]) -> int | None:
    """The nodata value as a code, None when no pixel of the dtype can have it."""
    return None if nodata is None or never(nodata, dtype) else int(nodata)


def _classes(path: str, ds: Any) -> tuple[dict[int, str], dict[int, Color], int | None]:
    """Names, colours and background from our tag, else from GDAL's category names and the colour table."""
    if classes := tagged_classes(path, ds.tags()):
        return dict(enumerate(classes.names)), dict(enumerate(classes.colors)), classes.background
    names = _categories(ds)
    background = next((code for code, name in names.items() if folded(name) == "background"), None)
    return names, _colors(ds), background


def _colors(ds: Any) -> dict[int, Color]:
    """The colour table by code; none when all of it is black, as GDAL fills what no one has set."""
    try:
        table = {code: color[:3] for code, color in ds.colormap(1).items()}
    except ValueError:
        return {}
    return table if any(map(any, table.values())) else {}


def _categories(ds: Any) -> dict[int, str]:
    """GDAL's category names by code, in whatever format: rasterio shows none, but GDAL writes them into a VRT."""
    with rasterio.MemoryFile(ext=".vrt") as memory:
        try:
            rasterio.shutil.copy(ds, memory.name, driver="VRT")
            root = ET.fromstring(memory.read().decode("utf-8", "replace"))
        except (*UNREADABLE, ET.ParseError):
            return {}
    rows = [(row.text or "").strip() for row in root.findall("VRTRasterBand[@band='1']/CategoryNames/Category")]
    return {code: name for code, name in enumerate(rows) if name}


def mask_strips(mask: MaskFile, rows: int) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_] | None]]:
    """Codes (h, W) from top to bottom, at most `rows` at a time, with the pixels that have data (None = all).

    Whole internal blocks are read at once where these are not too large.

    Raises RasterError when the file cannot be read to its end.
    """
    step = -(-rows // mask.block) * mask.block if mask.block * mask.width <= _TALLEST_BLOCK else rows
    with _open(mask) as files:
        for top in range(0, mask.height, step):
            window = Window(top, 0, min(step, mask.height - top), mask.width)
            codes, data = _pixels(mask, files, window=window.to_rasterio())
            even = -(-len(codes) // -(-len(codes) // rows))
            for part in (slice(row, row + even) for row in range(0, len(codes), even)):
                yield codes[part], None if data is None else data[part]


@contextmanager
def mask_windows(mask: MaskFile) -> Iterator[Callable[[Window], tuple[NDArray[Any], NDArray[np.bool_] | None]]]:
    """A function that reads the codes (h, W) of a window, with the pixels that have data (None = all).

    It raises RasterError when the file cannot be read.
    """
    with _open(mask) as files:
        yield lambda window: _pixels(mask, files, window=window.to_rasterio())


def mask_at(mask: MaskFile, size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The codes of a mask at another size (h, w), from the overview that comes near, with the pixels that have data.

    Raises RasterError when the file cannot be read.
    """
    with _open(mask) as files:
        return _pixels(mask, files, out_shape=size, resampling=Resampling.nearest)


@contextmanager
def _open(mask: MaskFile) -> Iterator[list[Patient]]:
    """The mask, and the raster that tells where it has data, if any; another thread may close them than opened them."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Patient(path))) for path in (mask.path, mask.valid) if path]


def _pixels(mask: MaskFile, files: Sequence[Patient], **where: Any) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Codes and where these are data (None = all), or RasterError.

    files: the mask, and the raster that tells where it has data, if any; where: what of a band rasterio is to read.
    """

    def band(dataset: Any, method: str) -> NDArray[Any]:
        with environment(mask.path, cache=64 << 20):
            return np.asarray(getattr(dataset, method)(1, **where))

    try:
        codes = files[0].ask(lambda dataset: band(dataset, "read"))
        data = None if mask.nodata is None else codes != mask.nodata
        if mask.masked:
            method = "read" if mask.valid else "read_masks"
            told = files[-1].ask(lambda dataset: band(dataset, method)) != 0
            data = told if data is None else data & told
    except UNREADABLE as e:
        raise RasterError(f"{mask.path}: damaged or cut short ({reason(e)})") from e
    return codes, data


class Recoding:
    """Codes of a mask as numbers from 1 on, 0 where nothing is to be drawn.

    kept: the codes drawn, None = all others than background and nodata.
    """

    def __init__(self, mask: MaskFile, kept: frozenset[int] | None) -> None:
        limits = np.iinfo(mask.dtype)
        self._table: NDArray[Any] | None = None
        self._kept, self._background, self._nodata = kept, mask.background, mask.nodata
        self._masked, self._path = mask.masked, mask.path
        self.shift, self.dtype = (1 << 62 if limits.bits > 16 else 1 - int(limits.min)), np.dtype(np.int64)
        if limits.bits > 16:
            return
        every = np.arange(limits.min, limits.max + 1)
        drawn = self._drawn(every)
        top = int((every[drawn] + self.shift).max(initial=0))
        self.dtype = np.min_scalar_type(top)
        self._table = np.zeros(len(every), self.dtype)
        self._table[every[drawn]] = every[drawn] + self.shift  # negative codes index from the end

    def _drawn(self, codes: NDArray[Any]) -> NDArray[np.bool_]:
        if self._kept is not None:
            return np.isin(codes, list(self._kept - {self._nodata}))
        left_out = [code for code in (self._background, self._nodata) if code is not None]
        return np.isin(codes, left_out, invert=True)

    def __call__(self, codes: NDArray[Any], data: NDArray[np.bool_] | None) -> NDArray[Any]:
        """Numbers (h, W) of codes (h, W). Raises RasterError for codes beyond 63 bits."""
        numbers: NDArray[Any]
        if self._table is not None and self.dtype == codes.dtype and self._all_drawn(codes):
            numbers = codes + self.dtype.type(self.shift)  # tens of times faster than any table
        elif self._table is not None and self._table.itemsize == codes.itemsize == 1:
            text = codes.tobytes().translate(self._table.tobytes())  # faster than indexing
            numbers = np.frombuffer(text, np.uint8).reshape(codes.shape)
        elif self._table is not None:
            numbers = self._table[codes]
        else:
            if codes.dtype == np.uint64 and codes.max() > np.iinfo(np.int64).max:
                raise RasterError(f"{self._path}: the code {codes.max()}; layers hold codes up to 9223372036854775807")
            numbers = np.where(self._drawn(codes), codes.astype(np.int64) + self.shift, 0)
        return numbers * data if data is not None and self._masked else numbers

    def _all_drawn(self, codes: NDArray[Any]) -> bool:
        """True when every code from the least to the greatest of `codes` (unsigned) is drawn."""
        return self._table is not None and bool(self._table[codes.min() : int(codes.max()) + 1].all())

    def codes(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """The codes of numbers that `__call__` gave."""
        known: NDArray[np.int64] = numbers.astype(np.int64) - self.shift
        return known
