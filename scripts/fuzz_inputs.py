"""The sound inputs of `scripts.fuzz`: scenes of many kinds, all the same corner of a picture, and polygons on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROWS, COLS = 80, 96


def write_scenes(image: Path) -> None:
    """Scenes of many kinds, all the same corner of a picture."""
    import rasterio
    import rasterio.shutil
    from rasterio.enums import ColorInterp, Resampling
    from rasterio.windows import Window

    with rasterio.open(image) as whole:
        pixels = whole.read(window=Window(0, 0, COLS, ROWS))
        place = {"crs": whole.crs, "transform": whole.transform}
    form = {"driver": "GTiff", "height": ROWS, "width": COLS, "count": 3, "dtype": "uint8", **place}
    hole = pixels.copy()
    hole[:, 10:30, 20:60] = 0

    def write(name: str, values: Any, **more: Any) -> None:
        with rasterio.open(name, "w", **form | more) as out:
            out.write(values)

    write("scene.tif", pixels, photometric="RGB")
    write("second.tif", pixels[::-1], photometric="RGB")
    Path("photos").mkdir()
    for number in range(3):
        write(f"photos/{number}.tif", np.roll(pixels, number, axis=0), photometric="RGB")
    write("deflate.tif", hole, compress="deflate", predictor=2, nodata=0, photometric="RGB")
    alpha = np.where(hole.any(axis=0), 255, 0).astype(np.uint8)
    with rasterio.open(
        "alpha.tif", "w", **form | {"count": 4, "tiled": True, "blockxsize": 32, "blockysize": 32}
    ) as out:
        out.write(np.concatenate([pixels, alpha[None]]))
        out.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with rasterio.open("masked.tif", "w", **form | {"compress": "lzw", "photometric": "RGB"}) as out:
            out.write(pixels)
            out.write_mask(alpha)
        with rasterio.open("masked.tif", "r+") as out:
            out.build_overviews([2, 4], Resampling.average)
    write("plain16.tif", pixels.astype(np.uint16) * 11, dtype="uint16", photometric="RGB")
    for name, driver in (("photo.jpg", "JPEG"), ("picture.png", "PNG"), ("over.vrt", "VRT")):
        rasterio.shutil.copy("scene.tif", name, driver=driver)


def write_layers() -> None:
    """Polygons on `scene.tif`: labels of two classes as GeoJSON and GeoPackage, and an area as GeoJSON."""
    import fiona
    import rasterio
    import shapely

    with rasterio.open("scene.tif") as ds:
        placed, crs = ds.transform, ds.crs.to_wkt()

    def write(name: str, driver: str, corners: Mapping[str, Sequence[tuple[float, float]]]) -> None:
        schema = {"geometry": "Polygon", "properties": {"class": "str"}}
        with fiona.open(name, "w", driver=driver, crs_wkt=crs, schema=schema, layer="drawn") as layer:
            for word, places in corners.items():
                shape = shapely.geometry.mapping(shapely.Polygon([placed * place for place in places]))
                layer.write({"type": "Feature", "properties": {"class": word}, "geometry": shape})

    drawn = {
        "water": [(3.2, 4.3), (40.1, 6.2), (35.3, 38.4), (5.1, 30.2)],
        "road": [(50.3, 40.1), (90.2, 44.4), (80.4, 75.3)],
    }
    write("drawn.geojson", "GeoJSON", drawn)
    write("drawn.gpkg", "GPKG", drawn)
    write("area.geojson", "GeoJSON", {"any": drawn["water"]})
