"""The length of a scale bar."""

from __future__ import annotations

import math


def bar(metres: float, longest: float) -> tuple[float, str]:
    """A round length for a scale bar: pixels, at most `longest`, and its text; metres: of a pixel.

    >>> bar(0.5, 130), bar(30, 100)
    ((100.0, '50 m'), (66.66666666666667, '2 km'))
    """
    most = metres * longest
    power = 10.0 ** math.floor(math.log10(most))
    length = next(step * power for step in (5, 2, 1) if step * power <= most * (1 + 1e-9))
    unit, size = next((unit, size) for unit, size in (("km", 1000), ("m", 1), ("cm", 0)) if length >= size)
    return length / metres, f"{length / (size or 0.01):g} {unit}"
