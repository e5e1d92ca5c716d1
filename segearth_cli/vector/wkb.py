"""Well-known binary of geometries, OGC 06-103r4: what `shapely.to_wkb` gives, several times faster for polygons."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

_LITTLE_ENDIAN_POLYGON = b"\x01\x03\x00\x00\x00"


def wkb(geometry: NDArray[Any]) -> list[bytes]:
    """Little-endian WKB of geometries (F,). Coordinates of polygons in the plane are copied ring by ring.

    >>> wkb(np.array([shapely.box(0, 0, 1, 1)]))[0] == shapely.to_wkb(shapely.box(0, 0, 1, 1), byte_order=1)
    True
    """
    polygons = shapely.get_type_id(geometry) == shapely.GeometryType.POLYGON
    if not len(geometry) or not polygons.all() or shapely.has_z(geometry).any():
        return list(shapely.to_wkb(geometry, byte_order=1))
    _, xy, (offsets, parts) = shapely.to_ragged_array(geometry, include_z=False)
    raw = xy.astype("<f8", copy=False).tobytes()
    points, counts = np.diff(offsets).astype("<u4").tobytes(), np.diff(parts).astype("<u4").tobytes()
    rings = [
        points[4 * i : 4 * i + 4] + raw[begin:end] for i, (begin, end) in enumerate(pairwise((16 * offsets).tolist()))
    ]
    return [
        b"".join((_LITTLE_ENDIAN_POLYGON, counts[4 * i : 4 * i + 4], *rings[first:last]))
        for i, (first, last) in enumerate(pairwise(parts.tolist()))
    ]
