"""Colours of classes: those that map readers expect of a name, else some that lie far apart."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

Color = tuple[int, int, int]

# Colours that map readers expect; any other name gets one from `_spread`.
_CONVENTIONS: Mapping[str, Color] = {
    "background": (224, 224, 224),
    "clutter": (224, 224, 224),
    "water": (46, 120, 210),
    "sea": (30, 90, 180),
    "river": (70, 150, 230),
    "lake": (46, 120, 210),
    "wetland": (110, 190, 190),
    "building": (214, 62, 62),
    "roof": (230, 110, 80),
    "house": (214, 62, 62),
    "road": (90, 90, 90),
    "street": (90, 90, 90),
    "pavement": (160, 150, 140),
    "car": (245, 200, 40),
    "vehicle": (245, 200, 40),
    "tree": (28, 110, 50),
    "forest": (28, 110, 50),
    "vegetation": (80, 160, 70),
    "grass": (150, 205, 95),
    "rangeland": (190, 205, 120),
    "agricultural": (235, 205, 95),
    "cropland": (235, 205, 95),
    "farmland": (235, 205, 95),
    "barren": (190, 150, 105),
    "bareland": (190, 150, 105),
    "bare soil": (190, 150, 105),
    "sand": (240, 220, 170),
    "snow": (245, 250, 255),
}


def default_color(name: str, code: int) -> Color:
    """The conventional colour of a name or of its last word that has one, else one far from its neighbours'."""
    words = [name.casefold(), *reversed(name.casefold().split())]
    return next((_CONVENTIONS[word] for word in words if word in _CONVENTIONS), None) or _spread(code)


def _spread(code: int) -> Color:
    """Colours far apart for neighbouring codes: hues a golden ratio apart."""
    r, g, b = colorsys.hsv_to_rgb((0.08 + code * 0.61803398875) % 1, 0.65 - 0.25 * (code // 8 % 2), 0.85)
    return round(r * 255), round(g * 255), round(b * 255)
