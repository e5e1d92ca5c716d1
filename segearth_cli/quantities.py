"""Areas, shares and times with the digits and units that a reader can use."""

from __future__ import annotations

import math
from datetime import datetime, timezone


def digits(value: float) -> str:
    """A quantity, 0 or above, with the digits that a reader can use.

    >>> digits(0), digits(0.00123), digits(3.14159), digits(123456.7)
    ('0', '0.0012', '3.14', '123,457')
    """
    if value == 0:
        return "0"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)) - (value < 1))}f}"


def area(square_metres: float) -> str:
    """An area in the unit that suits it.

    >>> area(6_400_000), area(52_300), area(80)
    ('6.40 km2', '5.23 ha', '80.0 m2')
    """
    unit, size = "m2", 1.0
    for larger, metres in (("ha", 1e4), ("km2", 1e6)):
        if square_metres >= metres / 10:
            unit, size = larger, metres
    return f"{digits(square_metres / size)} {unit}"


def percent(share: float) -> str:
    """A share in per cent.

    >>> percent(0.123456), percent(0.0004), percent(0)
    ('12.3 %', '< 0.1 %', '0 %')
    """
    return "0 %" if share == 0 else "< 0.1 %" if share < 0.0005 else f"{share * 100:.1f} %"


def duration(seconds: float) -> str:
    """A time in the two largest units that it has.

    >>> duration(0.2), duration(42), duration(750), duration(4000), duration(200000)
    ('< 1 s', '42 s', '12 min 30 s', '1 h 6 min', '2 d 7 h')
    """
    if seconds < 0.5:
        return "< 1 s"
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(round(seconds), size)
        if count or unit == "s":
            parts.append(f"{count} {unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts)


def data_size(count: int | None) -> str:
    """Bytes in the unit that suits them.

    >>> data_size(54_700_000), data_size(25_000_000_000), data_size(70), data_size(None)
    ('55 MB', '25 GB', '< 1 MB', '?')
    """
    if count is None:
        return "?"
    if 0 < count < 5e5:
        return "< 1 MB"
    return f"{count / 1e9:.0f} GB" if count >= 1e10 else f"{count / 1e6:.0f} MB"


def moment(nanoseconds: int) -> str:
    """A time since 1970 in UTC; in seconds where the calendar has none, as a damaged disk tells of a file.

    >>> moment(1_500_000_000), moment(10**21)
    ('1970-01-01T00:00:01.500000000Z', '1000000000000.000000000 s since 1970')
    """
    seconds, rest = divmod(nanoseconds, 10**9)
    try:
        return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    except (ValueError, OverflowError, OSError):
        return f"{seconds}.{rest:09d} s since 1970"
