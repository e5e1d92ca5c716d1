"""A mask to polygons: outlines traced strip by strip, cleaned, reshaped, measured and written as a vector layer.

Borders that two polygons share stay one line whatever is done to them; memory does not grow with the mask's height.
What people drew is read here too, since fiona is behind this door.
Knows no model and no scene, only masks.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.vector.drawn import Drawn, read_drawn, read_shapes, write_points
    from segearth_cli.vector.layers import driver, moves_to_wgs84
    from segearth_cli.vector.mask_to_vector import Vectorized, output_path, vectorize
    from segearth_cli.vector.options import Format, VectorizeOptions
    from segearth_cli.vector.partitioned import partitions, refuse_beyond, vectorize_partitioned

__all__ = [
    "Drawn",
    "Format",
    "VectorizeOptions",
    "Vectorized",
    "driver",
    "moves_to_wgs84",
    "output_path",
    "partitions",
    "read_drawn",
    "read_shapes",
    "refuse_beyond",
    "vectorize",
    "vectorize_partitioned",
    "write_points",
]

__getattr__ = lazy_face(
    __name__,
    {
        "drawn": "Drawn read_drawn read_shapes write_points",
        "layers": "driver moves_to_wgs84",
        "options": "Format VectorizeOptions",
        "mask_to_vector": "Vectorized output_path vectorize",
        "partitioned": "partitions refuse_beyond vectorize_partitioned",
    },
)
