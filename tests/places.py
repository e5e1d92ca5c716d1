"""Rasters that lie somewhere by each of the ways that GDAL knows."""

import rasterio
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import Affine, from_origin

WAYS = ("transform", "gcps", "rpcs", "nothing")
ACROSS = from_origin(10, 45, 1e-4, 1e-4)  # degrees


def place(path, kind, shift=0):
    """The raster `path`, which lies nowhere yet, put `shift` columns to the right of one place by what `kind` names."""
    where = ACROSS @ Affine.translation(shift, 0)
    with rasterio.open(path, "r+") as ds:
        height, width = ds.shape
        if kind == "transform":
            ds.crs, ds.transform = CRS.from_epsg(4326), where
        elif kind == "gcps":
            corners = [(row, col) for row in (0, height) for col in (0, width)]
            points = [GroundControlPoint(row, col, *(where @ (col, row))) for row, col in corners]
            ds.gcps = points, CRS.from_epsg(4326)
        elif kind == "rpcs":  # columns go by longitude, rows by latitude, on every height
            (west, north), (east, south) = where @ (0, 0), where @ (width, height)
            one, x, y = [1.0] + [0.0] * 19, [0.0, 1.0] + [0.0] * 18, [0.0, 0.0, -1.0] + [0.0] * 17
            middle = {"lat_off": (north + south) / 2, "long_off": (west + east) / 2, "height_off": 0}
            scales = {"lat_scale": (north - south) / 2, "long_scale": (east - west) / 2, "height_scale": 100}
            pixels = {"line_off": height / 2 - 0.5, "samp_off": width / 2 - 0.5}  # from the middle of the first one
            pixels |= {"line_scale": height / 2, "samp_scale": width / 2}
            parts = {"line_num_coeff": y, "line_den_coeff": one, "samp_num_coeff": x, "samp_den_coeff": one}
            ds.rpcs = RPC(**middle, **scales, **pixels, **parts)
    return path
