"""Vector files: GeoPackage, GeoJSON, FlatGeobuf, Shapefile and GeoParquet, each whole or not at all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from segearth_cli.classes import Color
from segearth_cli.disk import cannot_write, cause_of, refusal
from segearth_cli.errors import SegEarthError, UsageError, VectorError
from segearth_cli.files import replacing
from segearth_cli.styles import write_style
from segearth_cli.vector.antimeridian import cut
from segearth_cli.vector.dissolve import Whole, loaded
from segearth_cli.vector.geopackage import fill, table_name
from segearth_cli.vector.style import style
from segearth_cli.vector.wkb import wkb

FIELDS = {
    "class_id": "int",
    "class": "str",
    "area_m2": "float",
    "perimeter_m": "float",
    "confidence": "float",
    "part_of": "int",
}
SHAPEFILE_NAMES = {"perimeter_m": "perim_m"}  # at most ten characters


@dataclass(frozen=True, slots=True)
class VectorLayer:
    """What a vector layer is, before its features."""

    name: str
    """What it is called in formats whose layers have names."""
    crs: str | None
    """CRS of its geometries as WKT, or None."""
    geometry: str
    """Polygon or MultiPolygon."""
    fields: tuple[str, ...]
    """Some of FIELDS, in the order of their columns."""
    colors: dict[str, Color]
    """Colours of classes by name; complete when the file is closed."""
    pixel: float
    """Side of a pixel of the mask, in units of the CRS."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """How mask and polygons were made, where the format has a place for it."""


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """F features of a layer."""

    geometry: NDArray[Any]
    """(F,) polygons in the layer's CRS, each of shapely or a `Whole` in a file."""
    columns: Mapping[str, NDArray[Any]]
    """Values (F,) of each field, by its name."""


Write = Callable[[FeatureBatch], None]


@contextmanager
def writing(path: Path, layer: VectorLayer) -> Iterator[Write]:
    """A function that appends features to the file `path`, in the format of its suffix.

    The file appears, or replaces a former one, when the block ends without an error. Raises UsageError for an unknown
    suffix, VectorError when the file cannot be written.
    """
    driver(path)
    try:
        with replacing(path) as temporary:
            with opened(path, temporary, layer) as write:
                yield write
            with _telling(path, temporary):
                write_style(temporary, path, colors=layer.colors)
    except OSError as e:
        if isinstance(e, SegEarthError):
            raise
        raise VectorError(cannot_write(path, e)) from e


@contextmanager
def opened(path: Path, temporary: Path, layer: VectorLayer) -> Iterator[Write]:
    """A function that appends features to `temporary`, which is to become `path`. Raises VectorError."""
    with _telling(path, temporary), driver(path)(temporary, layer) as write:
        write(_none(layer))
        yield write


@contextmanager
def _telling(path: Path, temporary: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as e:
        if isinstance(e, SegEarthError):
            raise
        raise VectorError(cannot_write(path, cause_of([temporary], e))) from e


def driver(path: Path) -> Callable[[Path, VectorLayer], AbstractContextManager[Write]]:
    """What opens a file of this suffix for writing. Raises UsageError."""
    known = {
        ".gpkg": _geopackage,
        ".geojson": _geojson,
        ".json": _geojson,
        ".fgb": _flatgeobuf,
        ".shp": _shapefile,
        ".parquet": _parquet,
    }
    try:
        return known[path.suffix.casefold()]
    except KeyError:
        raise UsageError(f"{path}: unknown format '{path.suffix}'; use one of {' '.join(known)}") from None


def _none(layer: VectorLayer) -> FeatureBatch:
    return FeatureBatch(np.array([], object), {name: np.array([]) for name in layer.fields})


def _texts(geometry: NDArray[Any]) -> list[bytes]:
    """WKB of geometries."""
    files = len(geometry) and isinstance(geometry[0], Whole)
    return [shape.wkb() for shape in geometry] if files else wkb(geometry)


def _rows(features: FeatureBatch) -> Iterator[tuple[Any, ...]]:
    """The values of each feature, in Python's types."""
    return zip(*(values.tolist() for values in features.columns.values()), strict=True)


@contextmanager
def _fiona(path: Path, layer: VectorLayer, driver: str, names: Mapping[str, str]) -> Iterator[Any]:
    import fiona
    from fiona.errors import FionaError

    kinds = FIELDS | ({"class": _wide_enough(layer.colors)} if driver == "ESRI Shapefile" else {})
    schema = {
        "geometry": layer.geometry,
        "properties": {names.get(name, name): kinds[name] for name in layer.fields},
    }
    name = {} if driver == "ESRI Shapefile" else {"layer": layer.name}
    form = {"driver": driver, "schema": schema, "crs_wkt": layer.crs or "", "encoding": "utf-8", **name}
    try:
        with fiona.open(path, "w", **form) as collection:
            yield collection
        if refused := refusal(path):
            raise refused
    except Exception as e:
        if isinstance(e, (FionaError, RuntimeError)) or type(e).__module__.startswith("fiona"):
            raise OSError(str(e).splitlines()[0].partition(" Failed to write record")[0]) from e
        raise


def _wide_enough(names: Iterable[str]) -> str:
    """The type of a text field of a Shapefile that cuts no name, as far as 254 bytes go; 80 bytes are usual."""
    longest = max((len(name.encode()) for name in names), default=0)
    return f"str:{min(254, longest)}" if longest > 80 else "str"


@contextmanager
def _records(path: Path, layer: VectorLayer, driver: str, names: Mapping[str, str]) -> Iterator[Write]:
    """FeatureBatch through fiona, one by one."""
    fields, written = [names.get(name, name) for name in layer.fields], 0
    with _fiona(path, layer, driver, names) as collection:

        def write(features: FeatureBatch) -> None:
            nonlocal written
            written += len(features.geometry)
            collection.writerecords(
                {
                    "geometry": shapely.geometry.mapping(geometry),
                    "properties": dict(zip(fields, row, strict=True)),
                }
                for geometry, row in zip(loaded(features.geometry), _rows(features), strict=True)
            )

        yield write
    if written and not _has(path, driver, written - 1):
        raise OSError("the file ends before its features do")


def _has(path: Path, driver: str, number: int) -> bool:
    """Whether a file just written holds a feature: drivers do not always tell what found no room when they ended."""
    import fiona

    try:
        with fiona.open(path, driver=driver) as collection:
            return collection.get(number) is not None
    except (KeyError, OSError, RuntimeError, fiona.errors.FionaError):
        return False


def _flatgeobuf(path: Path, layer: VectorLayer) -> AbstractContextManager[Write]:
    return _records(path, layer, "FlatGeobuf", {})


def _shapefile(path: Path, layer: VectorLayer) -> AbstractContextManager[Write]:
    return _records(path, layer, "ESRI Shapefile", SHAPEFILE_NAMES)


@contextmanager
def _geopackage(path: Path, layer: VectorLayer) -> Iterator[Write]:
    """A layer that GDAL makes and SQLite fills, in one transaction: several times faster than feature by feature."""
    name = table_name(layer.name)
    with _fiona(path, replace(layer, name=name), "GPKG", {}) as collection:
        if layer.tags:
            collection.update_tags(
                dict(layer.tags)
            )  # tables gpkg_metadata and gpkg_metadata_reference, as GDAL reads them
    with fill(path, name, layer.fields) as insert:

        def write(features: FeatureBatch) -> None:
            if len(features.geometry) and isinstance(features.geometry[0], Whole):
                for shape, row in zip(features.geometry, _rows(features), strict=True):
                    insert.whole(shape, row)
            else:
                insert(features.geometry, _rows(features))

        yield write
        insert.run(style(name, layer.colors))


@contextmanager
def _geojson(path: Path, layer: VectorLayer) -> Iterator[Write]:
    """RFC 7946: WGS 84, outer rings counter-clockwise, digits down to a hundredth of a pixel, at least 7."""
    to_wgs84 = (lambda geometry: geometry) if layer.crs is None else moves_to_wgs84(layer.crs, layer.pixel)
    with path.open("w", encoding="utf-8") as f:
        f.write(f'{{"type": "FeatureCollection", "name": {json.dumps(layer.name, ensure_ascii=False)}, "features": [')
        between = "\n"

        def write(features: FeatureBatch) -> None:
            nonlocal between
            geometry = shapely.to_geojson(to_wgs84(loaded(features.geometry)))
            for row, text in zip(_rows(features), geometry, strict=True):
                properties = json.dumps(dict(zip(layer.fields, row, strict=True)), ensure_ascii=False)
                f.write(f'{between}{{"type": "Feature", "properties": {properties}, "geometry": {text}}}')
                between = ",\n"

        yield write
        f.write("\n]}\n")


def moves_to_wgs84(wkt: str, pixel: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """What moves geometries of a CRS to rounded longitude and latitude, cut at the antimeridian.

    pixel: side of a pixel in units of the CRS. Raises VectorError, at once or when it moves, for what has no place.
    """
    crs = pyproj.CRS.from_wkt(wkt)
    try:
        transformer = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    except pyproj.exceptions.ProjError as e:
        raise VectorError(f"GeoJSON is in WGS 84, which {crs.name} cannot be converted to; write .gpkg instead") from e
    unit = crs.axis_info[0].unit_conversion_factor
    degrees = np.degrees(unit) if crs.is_geographic else unit / 111_000
    digits = int(np.clip(np.ceil(-np.log10(pixel * degrees)) + 2, 7, 12))

    def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        moved = np.stack(transformer.transform(xy[:, 0], xy[:, 1]), axis=1)
        if not np.isfinite(moved).all():
            raise VectorError("GeoJSON is in WGS 84, where some places have no coordinates; write .gpkg instead")
        return np.round(moved, digits)

    def to_wgs84(geometry: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(shapely.orient_polygons(cut(geometry, move, 0.1 / degrees)), object)

    return to_wgs84


@contextmanager
def _parquet(path: Path, layer: VectorLayer) -> Iterator[Write]:
    """GeoParquet 1.1: WKB, one row group a batch."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise UsageError("GeoParquet needs pyarrow: pip install 'segearth[parquet]', or write .gpkg") from e
    column = {
        "encoding": "WKB",
        "geometry_types": [layer.geometry],
        "orientation": "counterclockwise",
        "crs": pyproj.CRS.from_wkt(layer.crs).to_json_dict() if layer.crs else None,
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    types = {"int": pa.int64(), "str": pa.string(), "float": pa.float64()}
    fields = [*((name, types[FIELDS[name]]) for name in layer.fields), ("geometry", pa.binary())]
    schema = pa.schema(fields, metadata={"geo": json.dumps(geo), **layer.tags})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def write(features: FeatureBatch) -> None:
            columns = [pa.array(features.columns[name].tolist(), types[FIELDS[name]]) for name in layer.fields]
            columns.append(pa.array(_texts(features.geometry), pa.binary()))
            if len(features.geometry):
                writer.write_table(pa.table(columns, schema=schema))

        yield write
