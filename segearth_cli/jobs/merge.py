"""The shards of a run joined: checked to be complete, as a VRT over them, as one GeoTIFF, or as a COG."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from segearth_cli.classes import RUN_TAG
from segearth_cli.console import first_of
from segearth_cli.disk import cannot_write, cause_of
from segearth_cli.errors import RasterError, RunError
from segearth_cli.files import growing, recover, replacing, replacing_all, write_text
from segearth_cli.jobs.documents import Record
from segearth_cli.jobs.place import Place
from segearth_cli.jobs.run_folder import COMPLETE, Ledger, Shard, open_ledger
from segearth_cli.jobs.store import Folder
from segearth_cli.prediction import run_tags, together
from segearth_cli.progress import Extent, progress, underway
from segearth_cli.raster import (
    BLOCK,
    Outputs,
    Rows,
    Window,
    cut_off,
    environment,
    label,
    layouts,
    legend,
    open_dataset,
    quietly,
    refuse_world_files,
    region_georeference,
    tables,
    write_cog,
    write_side_files,
    writing,
)
from segearth_cli.styles import is_own, style_path, write_style

NAMED = 8  # shards told by name when some are missing
_SOURCE = re.compile("<SourceFilename[^>]*>([^<]*)")
_ROW = re.compile(r"(shards/)?r\d+/r\d+\.\w+\.vrt")
TOLD = 20  # shards told on a line of their own when missing ones are allowed


@dataclass(frozen=True, slots=True)
class Joinable:
    """The shards of a run that can be joined, and those that cannot."""

    records: Mapping[Shard, Record]
    """The record of each shard that is complete, row-major."""
    missing: Mapping[Shard, str]
    """Why each of the others is not."""

    def has_files(self, shard: Shard) -> bool:
        """Whether a shard holds data that can be joined."""
        return shard in self.records and bool(self.records[shard].files)

    def hashes(self, ledger: Ledger, kind: str, shards: Iterable[Shard]) -> dict[str, str]:
        """The SHA-256 of the files of shards that have some, by their names in the store."""
        names = {shard: ledger.files(shard)[kind] for shard in shards}
        return {name: self.records[shard].files[name.rpartition("/")[2]] for shard, name in names.items()}

    def missing_lines(self) -> list[str]:
        """Where the joined files have no data because shards are missing: a line for each of the first ones."""
        lines = [
            f"{shard.name}: nodata in rows {w.row}-{w.bottom - 1}, columns {w.col}-{w.right - 1} ({reason})"
            for shard, reason in [*self.missing.items()][:TOLD]
            for w in [shard.window]
        ]
        more = len(self.missing) - len(lines)
        return lines + ([f"{more} more shards are missing"] if more else [])


def mask_vrt(place: Place) -> str:
    """The mask of a finished run as a VRT where the run is kept, as GDAL calls it.

    Raises RunError when there is no run or shards are missing.
    """
    ledger = open_ledger(place)
    write_vrts(ledger, complete(ledger))
    return ledger.store.raster("mask.vrt")


def complete(ledger: Ledger, *, allow_missing: bool = False) -> Joinable:
    """All shards of a run, checked.

    Raises RunError that names those which are missing, failed or damaged, with `allow_missing` only when all are.
    """
    found = ledger.look_at(ledger.shards)
    records = {shard: look.record for shard, look in found.items() if look.state in COMPLETE and look.record}
    missing = {shard: look.reason for shard, look in found.items() if shard not in records}
    if missing and (not allow_missing or not records):
        lacking = [f"{shard.name} ({reason})" for shard, reason in missing.items()]
        raise RunError(
            f"{ledger.store.name}: {len(lacking)} of {len(found)} shards are missing: "
            f"{first_of(lacking, NAMED)}; compute them with the same `segearth predict` and --resume"
        )
    return Joinable(records, missing)


def write_geotiff(ledger: Ledger, joinable: Joinable, outputs: Outputs, *, quiet: bool = True) -> None:
    """The joined files, of all shards the same to the byte as those of a run without shards."""
    frame = ledger.frame
    extent = Extent(frame.height * frame.width)
    with (
        environment(),
        progress(f"joining {outputs.mask.name}", frame.height, unit="row", extent=extent, quiet=quiet) as advance,
        writing(outputs, frame, ledger.classes, joined_tags(ledger, joinable)) as writer,
    ):
        for rows in _rows(ledger, joinable, outputs):
            writer.write(rows)
            advance(rows.window.height)


def joined_tags(ledger: Ledger, joinable: Joinable) -> dict[str, str]:
    """The tags of the joined files; without some of the shards they are not those of the run, whose mask it is not."""
    missing = {"missing_shards": [shard.name for shard in joinable.missing]} if joinable.missing else {}
    return run_tags({**ledger.run.facts, **missing})


def write_joined_cog(ledger: Ledger, joinable: Joinable, outputs: Outputs, *, quiet: bool = True) -> None:
    """The joined files as cloud-optimised GeoTIFFs, over the run's VRTs, which are replaced whatever they are.

    Raises RasterError when they cannot be written.
    """
    write_vrts(ledger, joinable, overwrite=True)
    places = outputs.by_kind()
    refuse_world_files(places.values(), ledger.frame)
    with replacing_all(list(places.values())) as temporaries:
        for (kind, path), temporary in zip(places.items(), temporaries, strict=True):
            try:
                source = ledger.store.raster(f"{kind}.vrt")
                with underway(f"joining {path.name}", quiet=quiet), environment(source):
                    write_cog(kind, source, temporary, outputs.form.compress)
                if failures := cut_off([temporary]):
                    raise OSError(failures[0])
            except (RasterioError, OSError) as e:
                raise RasterError(cannot_write(path, cause_of([temporary], e))) from e
            write_side_files(temporary, path, ledger.classes if kind == "mask" else None, _counts(joinable))


def write_vrts(ledger: Ledger, joinable: Joinable, *, overwrite: bool = False) -> dict[str, str]:
    """One VRT a kind where the run is kept, over one a row, over the shards that hold data; their paths are relative.

    Returns how users name each. Raises RunError where one is not ours, unless `overwrite`.
    """
    store = ledger.store
    if isinstance(store, Folder):
        for path in vrts(ledger):
            if not (overwrite or replaceable(path)):
                again = f"segearth merge {store.name} --overwrite"
                raise RunError(
                    f"{path}: exists already, and is not of this run; rename it, or replace it with `{again}`"
                )
        write_mosaics(ledger, joinable, store.path, "shards/", store.temporary)
    else:
        for name, text, _ in _mosaics(ledger, joinable, "shards/"):
            store.write(name, text)
    return {kind: f"{store.name.rstrip('/')}/{kind}.vrt" for kind in ledger.kinds}


def vrts(ledger: Ledger) -> list[Path]:
    """The VRTs of a run in a folder, as far as users see them; none of one in a bucket."""
    folder = ledger.store.path if isinstance(ledger.store, Folder) else None
    return [] if folder is None else [folder / f"{kind}.vrt" for kind in ledger.kinds]


def replaceable(path: Path) -> bool:
    """Whether there is no such file, or it is a VRT of ours: with our tag, over VRTs of rows of shards alone."""
    if not path.is_file():
        return not os.path.lexists(path)
    text = path.read_text(encoding="utf-8", errors="replace")
    return f'"{RUN_TAG}"' in text and all(map(_ROW.fullmatch, _SOURCE.findall(text)))


def write_mosaics(ledger: Ledger, joinable: Joinable, folder: Path, below: str, temporary: Path | None) -> None:
    """`write_vrts` into a folder that has files named as those of shards in folders a row; below: where these lie."""
    recover(folder / f"{kind}.vrt" for kind in ledger.kinds)
    for name, text, kind in _mosaics(ledger, joinable, below):
        if kind is None:
            write_text(folder / name, text, within=temporary)
        else:
            _write_vrt(folder / name, text, ledger if kind == "mask" else None)


def _mosaics(ledger: Ledger, joinable: Joinable, below: str) -> Iterator[tuple[str, str, str | None]]:
    """The name and the text of each VRT, those of rows before that over them; its kind, None for those of rows."""
    whole = ledger.frame
    for kind in ledger.kinds:
        root = ET.fromstring(_empty_vrt(ledger, joinable, kind))
        rows = []
        for shards in across(ledger.shards):
            if present := [shard for shard in shards if joinable.has_files(shard)]:
                name, text = _row_vrt(ledger, kind, present, root)
                yield below + name, text, None
                rows.append((below + name, shards[0].window.row, shards[0].window.height))
        for number, band in enumerate(_bands(root), start=1):
            if kind == "mask":
                band.extend(tables(ledger.classes, _counts(joinable)))
            for name, top, height in rows:
                band.append(_source(name, Window(top, 0, height, whole.width), number, band.get("dataType")))
        yield f"{kind}.vrt", ET.tostring(root, encoding="unicode") + "\n", kind


def _row_vrt(ledger: Ledger, kind: str, present: Sequence[Shard], whole: ET.Element) -> tuple[str, str]:
    """The name, below the folder of rows, and the text of a VRT over the shards of a row that hold data."""
    height = str(present[0].window.height)
    root = ET.Element("VRTDataset", {"rasterXSize": whole.get("rasterXSize", ""), "rasterYSize": height})
    names = {shard: ledger.files(shard)[kind].rpartition("/")[2] for shard in present}
    for number, described in enumerate(_bands(whole), start=1):
        dtype = described.get("dataType")
        band = ET.SubElement(root, "VRTRasterBand", {"dataType": dtype or "Byte", "band": str(number)})
        band.extend(described.findall("NoDataValue"))
        for shard, name in names.items():
            band.append(_source(name, shard.window._replace(row=0), number, dtype))
    row = present[0].name.partition("c")[0]
    return f"{row}/{row}.{kind}.vrt", ET.tostring(root, encoding="unicode") + "\n"


def _bands(root: ET.Element) -> list[ET.Element]:
    """The bands of a VRT, without sources."""
    bands = [*root.iter("VRTRasterBand")]
    for band in bands:
        for source in [*band.findall("SimpleSource"), *band.findall("ComplexSource")]:
            band.remove(source)
    return bands


def _write_vrt(path: Path, text: str, ledger: Ledger | None) -> None:
    """Replaces a VRT that says something else; a mask gets a style beside it, where nobody has saved one of their own.

    ledger: of a mask.
    """
    style = style_path(path)
    if path.is_file() and path.read_bytes() == text.encode() and (ledger is None or style.exists()):
        return
    kept = style.read_bytes() if style.exists() and not is_own(style) else None
    with replacing(path) as temporary:
        with growing(temporary, resumed=False) as f:
            f.write(text.encode())
        if kept is not None:
            with growing(style_path(temporary), resumed=False) as f:
                f.write(kept)
        elif ledger is not None:
            write_style(temporary, path, legend=legend(ledger.classes))


def _counts(joinable: Joinable) -> dict[int, int]:
    """Pixels of each code in the shards that are there."""
    return dict(together((record.measured for record in joinable.records.values()), 0.0).pixels)


def _empty_vrt(ledger: Ledger, joinable: Joinable, kind: str) -> str:
    """A VRT with the georeference, colours and tags of an output; GDAL itself writes them down."""
    whole = ledger.frame
    count, dtype, nodata = layouts(ledger.classes)[kind]
    with environment(), quietly(), MemoryFile(ext=".tif") as template, MemoryFile(ext=".vrt") as copied:
        with template.open(
            driver="GTiff", height=whole.height, width=whole.width, count=count, dtype=dtype, nodata=nodata, tiled=True,
            blockxsize=4096, blockysize=4096, sparse_ok=True,
            **region_georeference(whole, Window(0, 0, whole.height, whole.width)),
        ):  # fmt: skip
            pass
        label(kind, Path(template.name), ledger.classes, joined_tags(ledger, joinable))
        rasterio.shutil.copy(template.name, copied.name, driver="VRT")
        return bytes(copied.getbuffer()).decode()


def _source(path: str, window: Window, band: int, dtype: str | None) -> ET.Element:
    """A source that fills a window. path: relative to the VRT."""
    source = ET.Element("SimpleSource")
    name = ET.SubElement(source, "SourceFilename", {"relativeToVRT": "1"})
    name.text = path
    ET.SubElement(source, "SourceBand").text = str(band)
    size = {"RasterXSize": str(window.width), "RasterYSize": str(window.height)}
    block = {"BlockXSize": str(BLOCK), "BlockYSize": str(BLOCK)}
    ET.SubElement(source, "SourceProperties", {**size, "DataType": dtype or "Byte", **block})
    extent = {"xSize": str(window.width), "ySize": str(window.height)}
    ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **extent})
    ET.SubElement(source, "DstRect", {"xOff": str(window.col), "yOff": str(window.row), **extent})
    return source


def across(shards: Sequence[Shard]) -> list[list[Shard]]:
    """The shards of each row, top to bottom."""
    return [list(row) for _, row in groupby(shards, key=lambda shard: shard.window.row)]


def _rows(ledger: Ledger, joinable: Joinable, outputs: Outputs) -> Iterator[Rows]:
    """The rows of the whole output, one row of tiles at a time."""
    width = ledger.frame.width
    kinds = layouts(ledger.classes)
    for shards in across(ledger.shards):
        first = shards[0].window
        present = [shard for shard in shards if joinable.has_files(shard)]
        with ExitStack() as stack:
            files: dict[str, list[tuple[Shard, Any]]] = {}
            for kind in outputs.by_kind():
                paths = stack.enter_context(ledger.store.fetching(joinable.hashes(ledger, kind, present)))
                opened = [stack.enter_context(open_dataset(path)) for path in paths]
                files[kind] = list(zip(present, opened, strict=True))
            for row in range(0, first.height, BLOCK):
                height = min(BLOCK, first.height - row)
                found: dict[str, NDArray[Any]] = {}
                for kind, sources in files.items():
                    count, dtype, nodata = kinds[kind]
                    found[kind] = np.full((count, height, width), nodata, dtype)
                    for shard, ds in sources:
                        box = Window(row, 0, height, shard.window.width).to_rasterio()
                        found[kind][:, :, shard.window.col : shard.window.right] = ds.read(window=box)
                mask = found["mask"][0]
                confidence = found["confidence"][0] if "confidence" in found else mask
                yield Rows(Window(first.row + row, 0, height, width), mask, confidence, found.get("scores"))
