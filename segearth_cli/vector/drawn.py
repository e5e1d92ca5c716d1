"""Features that people drew: read from GeoParquet and what fiona reads; and points written for people to fill in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.classes import folded
from segearth_cli.disk import cannot_write, cause_of, refusal
from segearth_cli.errors import SegEarthError, UsageError, VectorError, is_of_gdal, nearest, said
from segearth_cli.files import replacing
from segearth_cli.raster import from_strangers, quietly
from segearth_cli.texts import refuse_pipe
from segearth_cli.vector.arrow import PARQUET, from_parquet

# What is read of strangers: formats of one file that name no other and run nothing.
_PLAIN = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".json": "GeoJSON", ".fgb": "FlatGeobuf", ".shp": "ESRI Shapefile"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """F features of a layer."""

    geometry: NDArray[Any]
    """(F,) of shapely; None where a feature has none."""
    values: tuple[Any, ...]
    """(F,) what the field holds; None where it is empty."""
    crs: str | None
    """CRS of the geometries as WKT, or None."""


def read_drawn(path: Path, field: str, layer: str | None, flag: str = "--labels") -> Drawn:
    """The features of a layer with what their field says; layer: None where the file has only one.

    flag: by which errors call the file. Raises VectorError when it cannot be read, UsageError when it has no such layer
    or field.
    """
    return _read(path, layer, flag, lambda fields: _field(path, fields, field))


def read_shapes(path: Path, layer: str | None, flag: str) -> Drawn:
    """The features of a layer without what their fields say. Raises as `read_drawn`."""
    return _read(path, layer, flag, lambda _: None)


def _read(path: Path, layer: str | None, flag: str, choose: Callable[[Sequence[str]], str | None]) -> Drawn:
    from fiona.errors import FionaError

    strange = from_strangers()
    driver = {"driver": _driver(path, flag)} if strange else {}
    refuse_pipe(path)
    if path.suffix.casefold() == ".gpkg":
        _refuse_other_text(path, flag)
    try:
        if path.suffix.casefold() == PARQUET and not strange:
            if layer is not None:
                raise UsageError(f"--layer {layer}: {path} has one layer, without a name; leave the option out")
            column, rows, crs = from_parquet(path, choose)
        else:
            column, rows, crs = _by_fiona(path, layer, flag, choose, driver)
    except SegEarthError:
        raise
    except (FionaError, OSError, RuntimeError, ValueError) as e:
        raise VectorError(f"{flag} {path}: cannot be read as vector data ({said(e)})") from None
    if several := next((value for _, value in rows if isinstance(value, list | dict)), None):
        raise VectorError(f"{flag} {path}: the field {column} holds {several!r}; need one name or code in each feature")
    geometry = np.array([None, *(_shape(path, number, found, flag) for number, (found, _) in enumerate(rows, 1))])[1:]
    return Drawn(geometry, tuple(None if _empty(value) else value for _, value in rows), crs)


def _by_fiona(
    path: Path, layer: str | None, flag: str, choose: Callable[[Sequence[str]], str | None], driver: Mapping[str, str]
) -> tuple[str | None, list[tuple[Any, Any]], str | None]:
    """As `from_parquet`, the geometries as mappings."""
    import fiona

    with quietly():
        name = _layer(path, _layers(path, **driver), layer, flag)
        with fiona.open(path, layer=name, allow_unsupported_drivers=True, **driver) as source:  # KML is one
            column = choose(list(source.schema["properties"]))
            rows = [(row.geometry, row.properties[column] if column else None) for row in source]
            return column, rows, source.crs_wkt or None


def write_points(
    path: Path, points: NDArray[np.float64], crs: str | None, columns: Mapping[str, Sequence[str]]
) -> None:
    """Writes points (n, 2) as a GeoPackage, whole or not at all: the field `class`, empty, and other columns.

    Equal points make equal files. Raises VectorError when it cannot be written.
    """
    import fiona
    from fiona.errors import FionaError

    schema = {"geometry": "Point", "properties": dict.fromkeys(["class", *columns], "str")}
    rows = zip(*columns.values(), strict=True)
    records = [
        {
            "geometry": {"type": "Point", "coordinates": (float(x), float(y))},
            "properties": {"class": None} | dict(zip(columns, row, strict=True)),
        }
        for (x, y), row in zip(points, rows, strict=True)
    ]
    form = {"driver": "GPKG", "schema": schema, "crs_wkt": crs or "", "layer": "suggestions"}
    # The date is set, else the file would tell when it was written.
    with fiona.Env(OGR_CURRENT_DATE="1970-01-01T00:00:00.000Z"), replacing(path) as temporary:
        try:
            with quietly(), fiona.open(temporary.absolute(), "w", **form) as sink:  # relative, a:b/c were a URL
                sink.writerecords(records)
            if refused := refusal(temporary):
                raise refused
        except Exception as e:
            if not is_of_gdal(e) and not isinstance(e, (FionaError, RuntimeError, OSError)):
                raise
            raise VectorError(cannot_write(path, cause_of([temporary], e))) from None


def _driver(path: Path, flag: str) -> str:
    try:
        return _PLAIN[path.suffix.casefold()]
    except KeyError:
        raise UsageError(f"{flag} {path}: with --untrusted vector data are {' '.join(_PLAIN)}") from None


def _refuse_other_text(path: Path, flag: str) -> None:
    """Raises VectorError where the tables that describe a GeoPackage hold what is no UTF-8: fiona dies of it."""
    with (
        suppress(sqlite3.DatabaseError),
        closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db,
    ):
        for table in ("sqlite_master", "gpkg_spatial_ref_sys", "gpkg_contents", "gpkg_geometry_columns"):
            try:
                db.execute(f"SELECT * FROM {table}").fetchall()
            except (sqlite3.OperationalError, UnicodeDecodeError) as e:
                if "decode" in str(e):
                    raise VectorError(f"{flag} {path}: {table} holds what is no UTF-8 text; save it anew") from None


def _layers(path: Path, driver: str | None = None) -> list[str]:
    """The layers of a file that are no mere tables (such as the styles that QGIS keeps), or all where none is drawn.

    driver: the only one that may look at it, before fiona lists, which takes them all.
    """
    import fiona

    if driver not in {None, "GPKG"}:
        with fiona.open(path, driver=driver) as source:
            return [source.name]
    if driver is not None:
        fiona.open(path, driver=driver).close()
    every = list(fiona.listlayers(path))
    if len(every) == 1:
        return every
    return [name for name in every if _is_drawn(path, name, driver)] or every


def _is_drawn(path: Path, layer: str, driver: str | None) -> bool:
    import fiona

    with fiona.open(path, layer=layer, driver=driver, allow_unsupported_drivers=True) as source:
        return bool(source.schema["geometry"] != "None")


def _layer(path: Path, layers: Sequence[str], asked: str | None, flag: str) -> str:
    if asked is None and len(layers) == 1:
        return layers[0]
    if asked is None or asked not in layers:
        known = ", ".join(layers) or "none"
        told = f"{flag} {path}: has the layers {known}; name one with --layer"
        raise UsageError(told if asked is None else f"--layer {asked}: {path} has {known}")
    return asked


def _field(path: Path, fields: Sequence[str], asked: str) -> str:
    found = next((name for name in fields if folded(name) == folded(asked)), None)
    if found is None:
        near = nearest(asked, fields)
        hint = f"did you mean {near}?" if near else f"it has {', '.join(fields) or 'none'}"
        raise UsageError(f"--field {asked}: {path} has no such field; {hint}")
    return found


def _shape(path: Path, number: int, found: Any, flag: str) -> Any:
    """The geometry of a feature, of WKB or a mapping. Raises VectorError where shapely can make nothing of it."""
    if found is None:
        return None
    try:
        with np.errstate(invalid="ignore"):
            made = shapely.from_wkb(found) if isinstance(found, bytes) else shapely.geometry.shape(found)
    except (shapely.errors.ShapelyError, ValueError) as e:  # of rings of too few points, among others
        raise VectorError(f"{flag} {path}: feature {number} is no geometry ({said(e)})") from None
    if not np.isfinite(shapely.get_coordinates(made)).all():
        raise VectorError(f"{flag} {path}: feature {number} has a coordinate that is no number; mend or remove it")
    return made


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
