"""A mask to polygons: outlines traced strip by strip, cleaned, reshaped, measured and written as a vector layer.

Borders that two polygons share stay one line whatever is done to them; memory does not grow with the mask's height.
Knows no model and no scene, only masks.
"""

from segearth_cli.vector.layers import driver
from segearth_cli.vector.vectorize import VectorizeOptions, output_path, vectorize

__all__ = ["VectorizeOptions", "driver", "output_path", "vectorize"]
