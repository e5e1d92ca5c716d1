"""`segearth vectorize`: masks to vector layers."""

from __future__ import annotations


def vectorize() -> None:
    """Write the classes of masks as polygons."""
