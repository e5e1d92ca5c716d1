"""What makes one data set with a file: the names beside it that drivers read and write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# What belongs to a file beside it: after its whole name, and in place of its suffix. GDAL, SQLite and QGIS read these
# whoever wrote them, so a file that is replaced alone would be read with the side files of its forerunner.
SQLITE = ("-wal", "-shm", "-journal")
_RASTER = (".aux.xml", ".msk", ".ovr", ".msk.ovr", ".vat.dbf")
_WORLD = (".tfw", ".tifw", ".wld")
_OTHER_WORLD = (".pgw", ".jgw", ".j2w", ".gfw", ".bpw")  # of formats that we read alone
STYLE = ".qml"  # of QGIS
_SHAPEFILE = (".shx", ".dbf", ".prj", ".cpg", ".qpj", ".qix", ".sbn", ".sbx", STYLE)
_ALONE = frozenset({".json", ".csv", ".pmtiles", ".png", ".html", ".txt", ".xml", ".safetensors", ".ckpt", ".pt"}) | {
    ".calibration"
}
STYLED = (".geojson", ".fgb", ".shp", ".parquet")  # polygons whose style has their stem
GEOTIFF = (".tif", ".tiff")
_WORLD_OF_ALL = (*GEOTIFF, ".jpg", ".jpeg", ".png", ".gif", ".bmp", ".jp2", ".webp")
_OF_WORLD: dict[str, tuple[str, ...]] = {".tfw": GEOTIFF, ".tifw": GEOTIFF, ".wld": _WORLD_OF_ALL}

# What GDAL 3.10 opens beside a raster, whoever wrote it: after its name, in place of its suffix, in its folder.
_READ_WITH = (".aux.xml", ".msk", ".ovr", ".aux"), (
    *(".aux", ".tab", ".imd", ".rpb", ".rpc", ".pvl", ".txt", ".xml", ".wld", "_rpc.txt", "_metadata.xml"),
    *("_RPC.TXT", "_metadata.txt", "_METADATA.XML", "_METADATA.txt"),
), ("METADATA.DIM", "summary.txt")  # fmt: skip


def read_with(path: Path) -> Iterator[str]:
    """The names beside a raster that GDAL may open with it, whether they are there or not."""
    whole, stems, folder = _READ_WITH
    here, suffix = str(path.parent), path.suffix
    stem = path.name.removesuffix(suffix)
    world = (f".{suffix[1]}{suffix[-1]}w", f"{suffix}w") if len(suffix) > 1 else ()
    for start, ends in ((path.name, whole), (stem, (*stems, *world))):
        yield from (f"{here}/{start}{end}" for lower in ends for end in (lower, lower.upper()))
    yield from (f"{here}/{name}" for name in folder)


def side_files(path: Path) -> list[Path]:
    """The names beside `path` that make one data set with it, whether they are there or not.

    >>> [side.name for side in side_files(Path("a.gpkg"))]
    ['a.gpkg-wal', 'a.gpkg-shm', 'a.gpkg-journal']
    """
    suffix = path.suffix.casefold()
    if suffix in _ALONE:
        return []
    if suffix in (".gpkg", ".mbtiles"):
        return [path.with_name(path.name + end) for end in SQLITE]
    stem = path.name.removesuffix(path.suffix)
    ends = _SHAPEFILE if suffix == ".shp" else (STYLE,) * (suffix in STYLED)
    if ends:
        return [path.with_name(stem + end) for end in ends]
    ends = (*_WORLD, STYLE) if suffix in (*GEOTIFF, ".vrt") else _WORLD
    return [path.with_name(path.name + end) for end in _RASTER] + [path.with_name(stem + end) for end in ends]


def is_side_file(name: str) -> bool:
    """Whether a file, by its name, is read with another one alone.

    >>> is_side_file("a.mask.tif.aux.xml"), is_side_file("a.QML"), is_side_file("a.tif")
    (True, True, False)
    """
    return name.casefold().endswith((*_RASTER, *_OF_WORLD, *_OTHER_WORLD, *_SHAPEFILE, *SQLITE))


def other_user(side: Path, path: Path) -> Path | None:
    """Another raster that is read with a world file of `path`, None when there is none: these go by stems."""
    ends = _OF_WORLD.get(side.suffix.casefold(), ())
    others = (side.with_suffix(end) for lower in ends for end in (lower, lower.upper()))
    return next((other for other in others if other.name != path.name and other.is_file()), None)
