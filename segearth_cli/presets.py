"""The 17 settings of the published tables: phrases, threshold, background, scale, global bias and the figure.

Li et al., SegEarth-OV, CVPR 2025 (arXiv:2410.01768); thresholds are the authors', tuned on each set's labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from segearth_cli.classes import ClassSet, parse, with_background
from segearth_cli.errors import UsageError

COLOUR = 1 << 24  # the code of a pixel in a label of three bands is COLOUR + 0xRRGGBB, apart from all plain codes
Codes = Mapping[int, int]  # code in a public label -> code of the class


@dataclass(frozen=True, slots=True)
class Preset:
    """One published setting: what `--preset` stands for."""

    id: str
    """What the user types."""
    name: str
    """The data set, as its authors write it."""
    rows: tuple[str, ...]
    """A row a class: its phrases, separated by commas, the first one its name."""
    threshold: float
    """Probability, 0 to 1, below which a pixel falls to the background."""
    published: float
    """The figure to reach in per cent: mIoU, or the IoU of the one class of a one-class set."""
    background: str = "background"
    """Name of the class that low probabilities fall to."""
    long_side: int = 448
    """Pixels that the longer side of a scene is resampled to."""
    global_bias: float = 0.3
    """Share of the global token's cosine taken from every pixel: lambda = -global_bias."""
    label_codes: Codes = field(default_factory=dict, hash=False)
    """Code of a public label -> class code; empty = they are class codes."""
    label_ignored: frozenset[int] = frozenset({255})
    """Codes of public labels that are left out."""

    def classes(self) -> ClassSet:
        """The classes with their phrases and background, in the order of the published label codes."""
        return with_background(parse(",".join(row.replace(",", "|") for row in self.rows)), self.background)

    def settings(self) -> dict[str, Any]:
        """What the published setting says beside classes, by keyword of `predict`."""
        return {
            "threshold": self.threshold,
            "long_side": self.long_side,
            "global_bias": self.global_bias,
            "attention": "segearth",
            "blend": "mean",
            "antialias": False,
        }

    @property
    def metric(self) -> str:
        """What `published` measures: `mIoU`, or `foreground IoU` for background and one class."""
        return "foreground IoU" if len(self.rows) == 2 else "mIoU"


def get(name: str) -> Preset:
    """The preset of that id or published name, in any case. Raises UsageError that lists the ids."""
    for preset in PRESETS.values():
        if name.casefold() in (preset.id, preset.name.casefold()):
            return preset
    raise UsageError(f"--preset {name}: no such preset; choose one of {', '.join(PRESETS)}")


def _codes(first: int, last: int, to: int) -> dict[int, int]:
    """Consecutive label codes first..last as classes to, to + 1, ..."""
    return {code: code - first + to for code in range(first, last + 1)}


def _colours(*order: int) -> dict[int, int]:
    """Colours 0xRRGGBB of the classes 0, 1, ..."""
    return {COLOUR + colour: code for code, colour in enumerate(order)}


# 0 = not labelled (LoveDA) or boundary (mmsegmentation's conversion of the two ISPRS sets); classes count from 1.
_LOVEDA = _codes(1, 7, to=0)
_ISPRS = _codes(1, 6, to=0) | _colours(0xFFFFFF, 0x0000FF, 0x00FFFF, 0x00FF00, 0xFFFF00, 0xFF0000)
# Moving (#400080) and static (#c000c0) cars are one class in the published setting.
_UAVID = _codes(0, 6, to=0) | _colours(0, 0x800000, 0x804080, 0x400080, 0x008000, 0x808000, 0x404000)
_UAVID |= {COLOUR + 0xC000C0: 3}
_WHITE_IS_ONE = {0: 0, 1: 1, 255: 1}
_ZERO = frozenset({0, COLOUR})  # COLOUR alone is black
_NONE: frozenset[int] = frozenset()

_BUILDING = ("background", "building")
_ROAD = ("background", "road")
_WATER = ("background", "water")
_OPENEARTHMAP = (
    *("background", "bareland,barren", "grass", "pavement", "road"),
    *("tree,forest", "water,river", "cropland", "building,roof,house"),
)
_ISAID = (
    *("background", "ship", "store tank", "baseball diamond", "tennis court", "basketball court"),
    *("ground track field", "bridge", "large vehicle", "small vehicle", "helicopter", "swimming pool"),
    *("roundabout", "soccer ball field", "plane", "harbor"),
)
_LOVEDA_ROWS = ("background", "building,roof,house", "road", "water", "barren", "forest", "agricultural")
_POTSDAM = ("road", "building", "grass", "tree", "car", "clutter,background")
_VAIHINGEN = (*_POTSDAM[:-1], "clutter")
_UAVID_ROWS = ("background", "building", "road", "car", "tree", "vegetation", "human")
_UDD5 = ("vegetation", "building", "road", "vehicle", "background")
_VDD = ("background", "facade", "road", "vegetation", "vehicle", "roof", "water")

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.id: preset
        for preset in (
            Preset("openearthmap", "OpenEarthMap", _OPENEARTHMAP, 0.1, 40.3),
            Preset("loveda", "LoveDA", _LOVEDA_ROWS, 0.3, 36.9, label_codes=_LOVEDA, label_ignored=_ZERO),
            Preset("isaid", "iSAID", _ISAID, 0.4, 21.7),
            Preset("potsdam", "Potsdam", _POTSDAM, 0.1, 48.5, "clutter", label_codes=_ISPRS, label_ignored=_ZERO),
            Preset("vaihingen", "Vaihingen", _VAIHINGEN, 0.1, 40.0, "clutter", label_codes=_ISPRS, label_ignored=_ZERO),
            Preset("uavid", "UAVid", _UAVID_ROWS, 0.3, 42.5, label_codes=_UAVID),
            Preset("udd5", "UDD5", _UDD5, 0.4, 50.6),
            Preset("vdd", "VDD", _VDD, 0.3, 45.3),
            Preset("whu-aerial", "WHU-Aerial", _BUILDING, 0.6, 49.2, label_codes=_WHITE_IS_ONE, label_ignored=_NONE),
            Preset("whu-sat-ii", "WHU-Sat.II", _BUILDING, 0.7, 28.4),
            Preset("inria", "Inria", _BUILDING, 0.6, 44.6, label_codes=_WHITE_IS_ONE, label_ignored=_NONE),
            Preset("xbd", "xBD", _BUILDING, 0.0, 37.0, global_bias=0.0),
            Preset("chn6-cug", "CHN6-CUG", _ROAD, 0.8, 35.4),
            Preset("deepglobe", "DeepGlobe", _ROAD, 0.7, 17.8),
            Preset("massachusetts", "Massachusetts", _ROAD, 0.7, 11.5),
            Preset("spacenet", "SpaceNet", _ROAD, 0.7, 23.8),
            Preset("wbs-si", "WBS-SI", _WATER, 0.6, 60.2),
        )
    }
)
