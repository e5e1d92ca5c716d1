"""The settings of the published tables: phrases, threshold, background, scale, tiles, global bias and the figure.

Li et al., SegEarth-OV, CVPR 2025 (arXiv:2410.01768), and its extension to SAR (arXiv:2508.18067); thresholds are the
authors', tuned on each set's labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from segearth_cli.classes import ClassSet, parse, with_background
from segearth_cli.errors import UsageError

FAR = 2  # times as long as the images that a setting is for: too long for it
LEFT_OUT = -1  # in place of a class
SAR_MODEL = "alignearth-sar-vit-b16"
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
    published: float | None
    """The figure to reach in per cent: mIoU, or the IoU of the one class of a one-class set; None = not known here."""
    background: str = "background"
    """Name of the class that low probabilities fall to."""
    long_side: int = 448
    """Pixels that the longer side of a scene is resampled to."""
    global_bias: float = 0.3
    """Share of the global token's cosine taken from every pixel: lambda = -global_bias."""
    image_side: int | None = 1024
    """Longer side in pixels of the images that the setting is for: those of the set, or its tiles; None = they vary."""
    tile: tuple[int, int] | None = None
    """Width and height of the tiles that the published settings cut images into before they resample them."""
    tile_stride: tuple[int, int] | None = None
    """Their step across and down; None = the tile."""
    tile_kept: tuple[int, int] | None = None
    """Step across and down of those tiles that the published files hold: the authors' converter of the two ISPRS sets
    counts tiles by their step but sets them apart by their side. None = all tiles."""
    label_codes: Codes = field(default_factory=dict, hash=False)
    """Code of a public label -> class code; empty = they are class codes."""
    label_ignored: frozenset[int] = frozenset({255})
    """Codes of public labels that are left out."""
    label_threshold: int | None = None
    """Grey value of public labels from which on they show the one class; None = labels hold codes."""
    label_other: int | None = None
    """What the authors' converters make of colours that `label_codes` lacks: a class, LEFT_OUT; None = an error."""
    window: int | None = None
    """Side of a window in working pixels; None = the model's."""
    attention: str = "segearth"
    """Row of the tables."""
    last_blocks: int | None = None
    """Blocks that are modulated; None = as the attention's publication has it."""
    model: str = ""
    """Model of the catalogue that the figures are of, where it is not the published one."""
    source: str = "arXiv:2410.01768"
    """Where words and settings are from."""

    def classes(self) -> ClassSet:
        """The classes with their phrases and background, in the order of the published label codes."""
        return with_background(parse(",".join(row.replace(",", "|") for row in self.rows)), self.background)

    def settings(self) -> dict[str, Any]:
        """What the published setting says beside classes, by keyword of `predict`."""
        return {
            "threshold": self.threshold,
            "long_side": self.long_side,
            "global_bias": self.global_bias,
            "attention": self.attention,
            "logit_scale": 50.0,
            "blend": "mean",
            "antialias": False,
        } | {name: value for name, value in self._more().items() if value is not None}

    def _more(self) -> dict[str, Any]:
        named = {"tile": self.tile, "tile_stride": self.tile_stride, "window": self.window}
        return named | {"last_blocks": self.last_blocks, "stretch": "sar" if self.model == SAR_MODEL else None}

    def tilings(self) -> dict[str, tuple[tuple[int, int], tuple[int, int]]]:
        """The ways in which a set is scored tile by tile: tile and step, both width and height; none for most sets."""
        if self.tile is None:
            return {}
        named = {"each tile": (self.tile, self.tile_stride or self.tile)}
        return named | ({"tiles of the published files": (self.tile, self.tile_kept)} if self.tile_kept else {})

    @property
    def metric(self) -> str:
        """What `published` measures: `mIoU`, or `foreground IoU` for background and one class."""
        return "foreground IoU" if len(self.rows) == 2 else "mIoU"


def get(name: str) -> Preset:
    """The preset of that id or published name, in any case. Raises UsageError that lists the ids."""
    for preset in EVERY.values():
        if name.casefold() in (preset.id, preset.name.casefold()):
            return preset
    raise UsageError(f"--preset {name}: no such preset; choose one of {', '.join(EVERY)}")


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
_ISAID_CODES = _codes(0, 15, to=0) | _colours(
    *(0x000000, 0x00003F, 0x003F3F, 0x003F00, 0x003F7F, 0x003FBF, 0x003FFF, 0x007F3F),
    *(0x007F7F, 0x00007F, 0x0000BF, 0x0000FF, 0x00BF7F, 0x007FBF, 0x007FFF, 0x00649B),
)
_UDD5_CODES = _codes(0, 4, to=0) | _colours(0x6B8E23, 0x66669C, 0x804080, 0x00008E, 0x000000)
_WHU_OPT_SAR_CODES = _codes(1, 7, to=0) | {10 * code: code - 1 for code in range(1, 8)}
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

_CVPR_POTSDAM = ("road,parking lot", "building", "low vegetation", "tree", "car", "clutter,background")
_CVPR_VAIHINGEN = ("impervious surface", "building", "low vegetation", "tree", "car", "clutter")
_PIE = ("background", "city", "road", "water,river", "forest", "cropland")
_KOREA = ("building", "road", "greenery", "water", "farmland,grass")
_SHANDONG = ("farmland,grass", "greenery", "road", "building", "water")
_XIAN = ("building", "road", "farmland,grass", "greenery", "water")
_WHU_OPT_SAR = ("farmland", "city", "village", "water", "forest", "road", "others")
_YESEG = ("bareground,barren", "grass,farmland", "dense tree cover", "city", "water", "roadway")
_FUSAR = ("others", "water", "road", "building", "grass")


def _tiled(*sides: int, stride: tuple[int, int] | None = None) -> dict[str, Any]:
    """Fields of a set whose images are cut into tiles of width x height."""
    return {"tile": sides, "tile_stride": stride, "image_side": max(sides)}


def _bright(side: int | None, threshold: int = 128) -> dict[str, Any]:
    """Fields of a one-class set whose labels are read as "so bright or brighter is the class"."""
    return {"image_side": side, "label_threshold": threshold, "label_ignored": _NONE}


def _sar(long_side: int = 224) -> dict[str, Any]:
    """Fields of a SAR set of the extension: at 224 px the whole image is one window."""
    return {
        "long_side": long_side, "window": 224, "attention": "sclip", "last_blocks": 2, "model": SAR_MODEL,
        "image_side": 512, "source": "arXiv:2508.18067",
    }  # fmt: skip


_ISPRS_FIELDS: dict[str, Any] = {
    "background": "clutter", "label_codes": _ISPRS, "label_ignored": _ZERO, "label_other": LEFT_OUT
} | {"tile_kept": (512, 512)} | _tiled(512, 512, stride=(256, 256))  # fmt: skip
_FIRST: dict[str, Any] = {"label_other": 0}  # converters start from an array of zeros


def _by_id(*presets: Preset) -> Mapping[str, Preset]:
    return MappingProxyType({preset.id: preset for preset in presets})


PRESETS = _by_id(
    Preset("openearthmap", "OpenEarthMap", _OPENEARTHMAP, 0.1, 40.3),
    Preset("loveda", "LoveDA", _LOVEDA_ROWS, 0.3, 36.9, label_codes=_LOVEDA, label_ignored=_ZERO),
    Preset(
        "isaid", "iSAID", _ISAID, 0.4, 21.7, label_codes=_ISAID_CODES, **_FIRST, **_tiled(896, 896, stride=(512, 512))
    ),
    Preset("potsdam", "Potsdam", _POTSDAM, 0.1, 48.5, source="arXiv:2508.18067", **_ISPRS_FIELDS),
    Preset("vaihingen", "Vaihingen", _VAIHINGEN, 0.1, 40.0, source="arXiv:2508.18067", **_ISPRS_FIELDS),
    Preset("uavid", "UAVid", _UAVID_ROWS, 0.3, 42.5, label_codes=_UAVID, **_FIRST, **_tiled(1280, 1080)),
    Preset("udd5", "UDD5", _UDD5, 0.4, 50.6, image_side=4096, label_codes=_UDD5_CODES),
    Preset("vdd", "VDD", _VDD, 0.3, 45.3, image_side=4000),
    Preset("whu-aerial", "WHU-Aerial", _BUILDING, 0.6, 49.2, **_bright(512)),
    Preset("whu-sat-ii", "WHU-Sat.II", _BUILDING, 0.7, 28.4, **_bright(512)),
    Preset("inria", "Inria", _BUILDING, 0.6, 44.6, **_bright(1000) | _tiled(1000, 1000)),
    Preset("xbd", "xBD", _BUILDING, 0.0, 37.0, global_bias=0.0, **_bright(1024, threshold=1)),
    Preset("chn6-cug", "CHN6-CUG", _ROAD, 0.8, 35.4, **_bright(512)),
    Preset("deepglobe", "DeepGlobe", _ROAD, 0.7, 17.8, **_bright(1024)),
    Preset("massachusetts", "Massachusetts", _ROAD, 0.7, 11.5, **_bright(1500)),
    Preset("spacenet", "SpaceNet", _ROAD, 0.7, 23.8, **_bright(1300)),
    Preset("wbs-si", "WBS-SI", _WATER, 0.6, 60.2, **_bright(None)),
)
# The repository of the CVPR paper words two sets otherwise than that of the extension, from which PRESETS has them.
WORDINGS = _by_id(
    Preset(
        "potsdam-cvpr", "Potsdam (CVPR words)", _CVPR_POTSDAM, 0.1, 48.5, source="github.com/likyoo/SegEarth-OV",
        **_ISPRS_FIELDS,
    ),
    Preset(
        "vaihingen-cvpr", "Vaihingen (CVPR words)", _CVPR_VAIHINGEN, 0.1, 40.0, source="github.com/likyoo/SegEarth-OV",
        **_ISPRS_FIELDS,
    ),
)  # fmt: skip
# Thresholds of 0 make the background of no account; a set without one has none.
SAR = _by_id(
    Preset("pie-sar", "PIE-RGB-SAR", _PIE, 0.0, None, **_sar()),
    Preset("ddhr-korea-sar", "DDHR Korea SAR", _KOREA, 0.0, None, "none", **_sar()),
    Preset("ddhr-shandong-sar", "DDHR Shandong SAR", _SHANDONG, 0.0, None, "none", **_sar()),
    Preset("ddhr-xian-sar", "DDHR Xian SAR", _XIAN, 0.0, None, "none", **_sar()),
    Preset(
        "whu-opt-sar", "WHU-OPT-SAR", _WHU_OPT_SAR, 0.0, None, "others", **_sar(),
        label_codes=_WHU_OPT_SAR_CODES, label_ignored=_ZERO,
    ),
    Preset("yeseg-sar", "YESeg-OPT-SAR", _YESEG, 0.3, None, "bareground", **_sar()),
    Preset("fusar", "FUSAR-Map", _FUSAR, 0.0, None, "others", **_sar(448)),
    Preset("openearthmap-sar", "OpenEarthMap-SAR", _OPENEARTHMAP, 0.0, None, **_sar(448)),
)  # fmt: skip
EVERY: Mapping[str, Preset] = MappingProxyType({**PRESETS, **WORDINGS, **SAR})
