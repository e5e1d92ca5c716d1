"""A finished run as a STAC collection: a COG with overviews for each shard, described by an item, and VRTs over them.

The catalog is static and relative: `collection.json`, a catalog a row of shards, their items. It can be copied to any
store as it is. What is there of the same run stays, so that a collection that was begun is gone on with, by several
processes too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.errors import RasterioError

from segearth_cli.classes import NODATA
from segearth_cli.errors import RasterError, RunError, VectorError, said
from segearth_cli.files import clear, create_text, make_folders, replacing, write_text
from segearth_cli.jobs.lock import claim
from segearth_cli.jobs.merge import Joinable, across, write_mosaics
from segearth_cli.jobs.run_folder import Ledger, Shard
from segearth_cli.jobs.store import COLLECTION
from segearth_cli.raster import Georeferenced, Ground, Window, environment, region_georeference, write_cog
from segearth_cli.vector import moves_to_wgs84

VERSION = "1.1.0"
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
SOURCE = "source.json"  # which run a folder holds, there from the beginning
SIDES = 8  # pieces of a side of a footprint, which is bent where it lies straight on the map
TITLES = {
    "mask": "Classes",
    "confidence": "Probability of the winner, times 254",
    "scores": "Probability of each class",
}

Box = list[float]  # west, south, east, north; west > east across the antimeridian


@dataclass(frozen=True)
class _Places:
    """Where windows of a run lie in longitude and latitude."""

    frame: Georeferenced
    name: str

    @cached_property
    def _ground(self) -> Ground:
        return Ground(self.frame, self.name)

    @cached_property
    def _move(self) -> Any:
        crs = self._ground.placement.crs
        if crs is None:
            raise RunError(f"{self.name}: has no CRS, and STAC tells where things lie; use --format cog")
        pixel = float(np.sqrt(abs(np.linalg.det(self._ground.placement.pixel))))
        return moves_to_wgs84(crs.to_wkt(), pixel)

    def footprint(self, window: Window) -> tuple[Mapping[str, Any], Box]:
        """The outline of a window as GeoJSON, and its bounds. Raises RunError where it has none."""
        corners = shapely.box(window.col, window.row, window.right, window.bottom)
        outline = shapely.segmentize(corners, max(window.height, window.width) / SIDES)
        try:
            found = self._move(self._ground.to_map(np.array([outline], object)))[0]
        except VectorError as e:
            raise RunError(f"{self.name}: has no place in longitude and latitude ({e}); use --format cog") from e
        west, south, east, north = shapely.bounds(found).tolist()
        if found.geom_type == "MultiPolygon" and east - west > 180:
            parts = shapely.bounds(shapely.get_parts(found))
            west, east = parts[parts[:, 0] > 0, 0].min(), parts[parts[:, 2] < 0, 2].max()
        return json.loads(shapely.to_geojson(found)), [float(side) for side in (west, south, east, north)]


def write_stac(ledger: Ledger, joinable: Joinable, folder: Path, compress: str) -> Path:
    """A collection of the shards that hold data, and a VRT a kind over them; returns the path of `collection.json`.

    Several processes may write one: each takes rows that no other is at, and waits for those of others in the end.
    Raises RunError when the folder holds something else, or the run lies nowhere; RasterError when a file cannot be
    written.
    """
    places = _Places(ledger.frame, ledger.store.name)
    _, box = places.footprint(Window(0, 0, ledger.frame.height, ledger.frame.width))
    _begin(folder, {"run": ledger.hash, "compress": compress})
    collection = folder / COLLECTION
    rows: dict[str, list[Shard]] = {}
    for shards in across(ledger.shards):
        if present := [shard for shard in shards if joinable.has_files(shard)]:
            rows[present[0].name.partition("c")[0]] = present
    left = [row for row in rows if not _write_row(ledger, joinable, places, folder / row, rows[row], compress)]
    for row in left:
        _write_row(ledger, joinable, places, folder / row, rows[row], compress, wait=True)
    with claim(folder / ".collection.lock", wait=True):
        write_mosaics(ledger, joinable, folder, "", None)
        links = [_link("child", f"./{row}/catalog.json") for row in rows]
        _write(collection, _collection(ledger, joinable, box, links))
    return collection


def _write_row(
    ledger: Ledger, joinable: Joinable, places: _Places, folder: Path, present: Sequence[Shard], compress: str, *,
    wait: bool = False,
) -> bool:  # fmt: skip
    """Writes the shards of a row and its catalog, unless another process is at it; whether this one was."""
    with claim(folder.with_name(f".{folder.name}.lock"), wait=wait) as mine:
        if mine:
            make_folders([folder])
            clear(folder)
            for shard in present:
                _write_shard(ledger, joinable, shard, places, folder, compress)
            items = [_link("item", f"./{shard.name}.json") for shard in present]
            _write(folder / "catalog.json", _catalog(ledger, folder.name, items))
    return mine


def _begin(folder: Path, source: Mapping[str, str]) -> None:
    """Says which run a folder is of. Raises RunError when it is of another, or holds anything else."""
    make_folders([folder])
    place = folder / SOURCE
    if not place.is_file():
        if any(path.name != SOURCE and not path.name.startswith(".") for path in folder.iterdir()):
            raise RunError(f"--out {folder}: holds other files; name a folder that is empty or not there yet")
        create_text(place, _text(source))
    if place.read_text(encoding="utf-8") != _text(source):
        raise RunError(f"--out {folder}: holds another run, or one packed otherwise; name another folder")


def _write_shard(
    ledger: Ledger, joinable: Joinable, shard: Shard, places: _Places, folder: Path, compress: str
) -> None:
    """Writes the COGs of a shard and then its item, unless that is there."""
    item = folder / f"{shard.name}.json"
    if item.exists():
        return
    for kind in ledger.kinds:
        with ledger.store.fetching(joinable.hashes(ledger, kind, [shard])) as (source,):
            target = folder / f"{shard.name}.{kind}.tif"
            try:
                with replacing(target) as temporary, environment():
                    write_cog(kind, source, temporary, compress)
            except (RasterioError, OSError) as e:
                raise RasterError(f"{target}: cannot write: {said(e)}") from e
    _write(item, _item(ledger, joinable, shard, places))


def _item(ledger: Ledger, joinable: Joinable, shard: Shard, places: _Places) -> dict[str, Any]:
    geometry, box = places.footprint(shard.window)
    record = joinable.records[shard]
    names = dict(enumerate(ledger.classes.names)) | {NODATA: "nodata"}
    assets = {
        kind: {
            "href": f"./{shard.name}.{kind}.tif",
            "type": COG,
            "title": TITLES[kind],
            "roles": ["data"],
            **({"classification:classes": _classes(ledger)} if kind == "mask" else {}),
        }
        for kind in ledger.kinds
    }
    return {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [PROJECTION, CLASSIFICATION],
        "id": shard.name,
        "geometry": geometry,
        "bbox": box,
        "properties": {
            **_times(ledger),
            **_projection(ledger, shard),
            "segearth:pixels": {names[code]: n for code, n in sorted(record.measured.pixels.items())},
        },
        "links": [
            _link("root", "../collection.json"),
            _link("parent", "./catalog.json"),
            _link("collection", "../collection.json"),
        ],
        "assets": assets,
        "collection": _name(ledger),
    }


def _projection(ledger: Ledger, shard: Shard) -> dict[str, Any]:
    """The fields of the projection extension."""
    window, placed = shard.window, region_georeference(ledger.frame, shard.window)
    found: dict[str, Any] = {"proj:shape": [window.height, window.width]}
    if (crs := placed.get("crs")) is not None and "transform" in placed:
        code = crs.to_authority()
        found["proj:code"] = ":".join(code) if code else None
        if not code:
            found["proj:wkt2"] = crs.to_wkt()
        found["proj:transform"] = list(placed["transform"])[:6]
    return found


def _classes(ledger: Ledger) -> list[dict[str, Any]]:
    """The classes of a mask by the classification extension, nodata among them."""
    classes = ledger.classes
    found: list[dict[str, Any]] = [
        {"value": code, "name": f"class_{code}", "title": name, "color_hint": "".join(f"{part:02X}" for part in color)}
        for code, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True))
    ]
    return [*found, {"value": NODATA, "name": "nodata", "title": "nodata", "nodata": True}]


def _collection(ledger: Ledger, joinable: Joinable, box: Box, rows: Sequence[Any]) -> dict[str, Any]:
    missing = {"segearth:missing_shards": [shard.name for shard in joinable.missing]} if joinable.missing else {}
    return {
        "type": "Collection",
        "stac_version": VERSION,
        "stac_extensions": [],
        "id": _name(ledger),
        "title": f"Classes of {ledger.run.facts['scene']}",
        "description": f"Masks of {', '.join(ledger.classes.names)} that segearth made of {ledger.run.facts['scene']}.",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [box]},
            "temporal": {"interval": [[_times(ledger)["datetime"]] * 2]},
        },
        "links": [_link("root", "./collection.json"), *rows],
        "assets": {
            kind: {"href": f"./{kind}.vrt", "title": f"{TITLES[kind]}, as a mosaic", "type": "application/xml"}
            for kind in ledger.kinds
        },
        "segearth:run": ledger.run.facts,
        **missing,
    }


def _catalog(ledger: Ledger, row: str, items: Sequence[Any]) -> dict[str, Any]:
    return {
        "type": "Catalog",
        "stac_version": VERSION,
        "id": f"{_name(ledger)}-{row}",
        "description": f"Row {row} of {_name(ledger)}.",
        "links": [_link("root", "../collection.json"), _link("parent", "../collection.json"), *items],
    }


def _name(ledger: Ledger) -> str:
    return f"segearth-{ledger.hash[:16]}"


def _times(ledger: Ledger) -> dict[str, str]:
    """When the scene was as it was read: the time of its files, or now for one over the network."""
    known = ledger.run.scene.modified or datetime.now(timezone.utc).isoformat()
    return {"datetime": f"{known[:19]}Z"}


def _link(rel: str, href: str) -> dict[str, str]:
    return {"rel": rel, "href": href, "type": "application/geo+json" if rel == "item" else "application/json"}


def _write(path: Path, document: Mapping[str, Any]) -> None:
    write_text(path, _text(document))


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"
