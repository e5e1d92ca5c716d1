"""Numbers as a legend and a scale bar tell them."""

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


def hectares(value: float) -> str:
    """Hectares with the digits that a reader can use.

    >>> hectares(0), hectares(0.00123), hectares(3.14159), hectares(123456.7)
    ('0', '0.0012', '3.14', '123,457')
    """
    if value == 0:
        return "0"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)) - (value < 1))}f}"


def percent(share: float) -> str:
    """A share in per cent.

    >>> percent(0.123456), percent(0.0004), percent(0)
    ('12.3 %', '< 0.1 %', '0 %')
    """
    return "0 %" if share == 0 else "< 0.1 %" if share < 0.0005 else f"{share * 100:.1f} %"
