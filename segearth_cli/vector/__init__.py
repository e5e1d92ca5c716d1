"""A mask to polygons: outlines traced strip by strip, cleaned, reshaped, measured and written as a vector layer.

Borders that two polygons share stay one line whatever is done to them; memory does not grow with the mask's height.
Knows no model and no scene, only masks.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.vector.layers import driver
    from segearth_cli.vector.mask_to_vector import Vectorized, output_path, vectorize
    from segearth_cli.vector.options import VectorizeOptions

__all__ = ["VectorizeOptions", "Vectorized", "driver", "output_path", "vectorize"]

__getattr__ = lazy_face(
    __name__,
    {"layers": "driver", "options": "VectorizeOptions", "mask_to_vector": "Vectorized output_path vectorize"},
)
