"""Vector files: GeoPackage, GeoJSON, FlatGeobuf, Shapefile and GeoParquet, each whole or not at all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from segearth_cli.disk import cannot_write, cause_of
from segearth_cli.errors import SegEarthError, UsageError, VectorError
from segearth_cli.files import replacing
from segearth_cli.raster import map_crs
from segearth_cli.styles import hexadecimal, write_style
from segearth_cli.vector.antimeridian import to_degrees, united
from segearth_cli.vector.arrow import by_gdal, holds_feature, parquet
from segearth_cli.vector.dissolve import Whole
from segearth_cli.vector.features import FeatureBatch, VectorLayer, Write
from segearth_cli.vector.geopackage import editing, table_name
from segearth_cli.vector.style import style

_EQUATOR = 40_075_016.7  # metres
_ZOOMS = 6  # of vector tiles, down to the one that shows pixels
_TILE_BYTES = 2_000_000  # at most; GDAL leaves details out of larger tiles, then polygons
_SHAPEFILE_NAMES = {"perimeter_m": "perim_m"}  # at most ten characters


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
        ".parquet": parquet,
        ".pmtiles": _pmtiles,
        ".mbtiles": _mbtiles,
    }
    try:
        return known[path.suffix.casefold()]
    except KeyError:
        raise UsageError(f"{path}: unknown format '{path.suffix}'; use one of {' '.join(known)}") from None


@contextmanager
def _whole(path: Path, layer: VectorLayer, driver: str, names: Mapping[str, str]) -> Iterator[Write]:
    """A file that a driver of GDAL writes, which does not always tell what found no room when it ended."""
    written = 0
    with by_gdal(path, layer, driver, names) as append:

        def write(features: FeatureBatch) -> None:
            nonlocal written
            written += len(features)
            append(features)

        yield write
    if written and not holds_feature(path, written - 1):
        raise OSError("the file ends before its features do")


def _flatgeobuf(path: Path, layer: VectorLayer) -> AbstractContextManager[Write]:
    return _whole(path, layer, "FlatGeobuf", {})


def _shapefile(path: Path, layer: VectorLayer) -> AbstractContextManager[Write]:
    return _whole(path, layer, "ESRI Shapefile", _SHAPEFILE_NAMES)


@contextmanager
def _geopackage(path: Path, layer: VectorLayer) -> Iterator[Write]:
    """A layer that GDAL writes; SQLite adds what is larger than memory, and the style."""
    layer = replace(layer, name=table_name(layer.name))
    written, wholes = 0, list[FeatureBatch]()
    with by_gdal(path, layer, "GPKG", layer_metadata=dict(layer.tags) or None) as append:

        def write(features: FeatureBatch) -> None:
            nonlocal written
            if features.in_files:
                wholes.append(features)
            else:
                written += len(features)
                append(features)

        yield write
    with editing(path, layer.name, layer.fields, written) as edit:
        for features in wholes:
            for shape, row in zip(features.geometry, features.rows(), strict=True):
                edit.insert(shape, row)
        edit.run(style(layer.name, layer.colors))


@contextmanager
def _tiles(path: Path, layer: VectorLayer, driver: str) -> Iterator[Write]:
    """Vector tiles in Web Mercator, with the colour of each class as #rrggbb. GDAL makes no tiles of no polygons."""
    if layer.crs is None:
        raise VectorError(f"{path.suffix} is in Web Mercator, and the mask has no CRS; write .gpkg instead")
    deepest = _deepest(map_crs(layer.crs), layer.pixel)
    zooms = {"MINZOOM": max(0, deepest - _ZOOMS + 1), "MAXZOOM": deepest, "MAX_SIZE": _TILE_BYTES}
    written = 0
    with by_gdal(path, replace(layer, fields=(*layer.fields, "color")), driver, dataset_options=zooms) as append:

        def write(features: FeatureBatch) -> None:
            nonlocal written
            written += len(features)
            names = features.columns["class"].tolist()
            colors = np.array([hexadecimal(layer.colors[name]) for name in names], object)
            append(FeatureBatch(features.geometry, {**features.columns, "color": colors}))

        yield write
        if not written:
            raise VectorError(
                f"{path.suffix}: the mask has no polygons, and tiles cannot be empty; write .gpkg instead"
            )


def _pmtiles(path: Path, layer: VectorLayer) -> AbstractContextManager[Write]:
    return _tiles(path, layer, "PMTiles")


def _mbtiles(path: Path, layer: VectorLayer) -> AbstractContextManager[Write]:
    return _tiles(path, layer, "MBTiles")


def _deepest(crs: pyproj.CRS, pixel: float) -> int:
    """The zoom at which a pixel is four of the 4096 units of a tile at least."""
    unit = crs.axis_info[0].unit_conversion_factor  # to metres, or to radians
    metres = pixel * unit * (_EQUATOR / (2 * np.pi) if crs.is_geographic else 1)
    return int(np.clip(np.ceil(np.log2(_EQUATOR / 1024 / metres)), 0, 22))


@contextmanager
def _geojson(path: Path, layer: VectorLayer) -> Iterator[Write]:
    """RFC 7946: WGS 84, outer rings counter-clockwise, digits down to a hundredth of a pixel, at least 7."""
    to_wgs84 = (lambda geometry: geometry) if layer.crs is None else moves_to_wgs84(layer.crs, layer.pixel)
    with path.open("w", encoding="utf-8") as f:
        f.write(f'{{"type": "FeatureCollection", "name": {json.dumps(layer.name, ensure_ascii=False)}, "features": [')
        between = "\n"

        def write(features: FeatureBatch) -> None:
            nonlocal between
            shapes = features.geometry if features.in_files else shapely.to_geojson(to_wgs84(features.geometry))
            for row, shape in zip(features.rows(), shapes, strict=True):
                properties = json.dumps(dict(zip(layer.fields, row, strict=True)), ensure_ascii=False)
                f.write(f'{between}{{"type": "Feature", "properties": {properties}, "geometry": ')
                f.writelines(_multipolygon(shape, to_wgs84) if features.in_files else [shape])
                f.write("}")
                between = ",\n"

        yield write
        f.write("\n]}\n")


def _multipolygon(whole: Whole, to_wgs84: Callable[[NDArray[Any]], NDArray[Any]]) -> Iterator[str]:
    """A multipolygon as pieces of its GeoJSON, some of its parts in each."""
    begin, end = '{"type":"MultiPolygon","coordinates":[', "]}"
    yield begin
    held, between = [], ""
    for polygons in whole.polygons():
        moved = to_wgs84(polygons)
        seam = shapely.bounds(polygons)[:, [0, 2]] == whole.bounds[[0, 2]]
        seam |= np.abs(shapely.bounds(moved)[:, [0, 2]]) == 180
        held.extend(moved[seam.any(axis=1)])
        if len(parts := shapely.get_parts(moved[~seam.any(axis=1)])):
            yield between + shapely.to_geojson(shapely.multipolygons(parts))[len(begin) : -len(end)]
            between = ","
    if held:  # parts that are apart on the map may have an edge in common where the globe closes
        whole = shapely.multipolygons(shapely.get_parts(united(held)))
        yield between + shapely.to_geojson(whole)[len(begin) : -len(end)]
    yield end


def moves_to_wgs84(wkt: str, pixel: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """What moves geometries of a CRS to rounded longitude and latitude, cut at the antimeridian.

    pixel: side of a pixel in units of the CRS. Raises VectorError, at once or when it moves, for what has no place.
    """
    crs = map_crs(wkt)
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
        return np.asarray(shapely.orient_polygons(to_degrees(geometry, move, pixel, degrees)), object)

    return to_wgs84
