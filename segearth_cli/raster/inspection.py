"""How a raster will be read, told before anything runs: each band, what is data, to 8 bits, its size on the ground."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rasterio.enums import ColorInterp

from segearth_cli.errors import RasterError
from segearth_cli.raster.datasets import opened_dataset
from segearth_cli.raster.georeference import crs_name
from segearth_cli.raster.open import open_scene, refuse_own
from segearth_cli.raster.options import ReadOptions
from segearth_cli.raster.orientation import orientation
from segearth_cli.raster.scene import Scene
from segearth_cli.raster.validity import Validity, alpha_band, validity

_ROLES = ("red", "green", "blue")


@dataclass(frozen=True, slots=True)
class Band:
    """What a file says of one of its bands, and what becomes of it."""

    number: int
    """From 1."""
    dtype: str
    """Type of its values."""
    meaning: str
    """Its colour interpretation, e.g. red, alpha, undefined."""
    description: str
    """Its name in the file, empty without one."""
    nodata: float | None
    """Its nodata value, or None."""
    scale: float
    """Physical units of one raw unit."""
    offset: float
    """Physical value of raw 0."""
    overviews: tuple[int, ...]
    """Decimation factors."""
    role: str
    """red, green, blue, grey, palette, alpha, or empty: it is not read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One question of how a scene is read."""

    value: Any
    """The answer for programs: numbers, lists, None for what there is not."""
    how: str
    """The answer for people."""
    flags: tuple[str, ...]
    """Options of predict that change it."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """How a scene will be read."""

    scene: str
    """As the user named it."""
    driver: str
    """GDAL's name of the format."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    crs: str | None
    """Its CRS by name, or None."""
    bands: tuple[Band, ...]
    """Every band of the file."""
    readings: dict[str, Reading]
    """Answers by question: bands, alpha, nodata, mask, stretch, overviews, orientation, ground; few with a problem."""
    notices: tuple[str, ...]
    """What predict will tell of the scene."""
    problem: str | None
    """Why the scene cannot be read as asked, with the option that mends it; None when it can."""

    def lines(self) -> Iterator[str]:
        """The inspection for people; flags stand in brackets."""
        yield f"{self.scene}: {self.driver}, {self.width} x {self.height} px, {self.crs or 'no CRS'}"
        for band in self.bands:
            yield f"  band {band.number}: {_about(band)}"
        for name, reading in self.readings.items():
            flags = f" ({', '.join(reading.flags)})" if reading.flags else ""
            yield f"  {name}: {reading.how}{flags}"
        yield from (f"  note: {line.removeprefix(f'{self.scene}: ')}" for line in self.notices)
        if self.problem:
            yield f"  problem: {self.problem.removeprefix(f'{self.scene}: ')}"


def inspect_scene(path: str, options: ReadOptions | None = None) -> Inspection:
    """How a raster is read with these options. Raises RasterError when it is no raster."""
    options = options or ReadOptions()
    scene, problem = None, None
    try:
        scene = open_scene(path, options)
        refuse_own(scene)
        scene.close()
    except RasterError as e:
        problem = str(e)
    with opened_dataset(path) as ds:
        drawn = scene.bands if scene else ()
        asked = drawn or tuple(range(1, ds.count + 1))
        rule = validity(ds, asked, options)
        bands = tuple(_band(ds, number, drawn, rule, scene) for number in range(1, ds.count + 1))
        readings = dict(_readings(ds, asked, rule, options, scene))
        return Inspection(
            scene=path,
            driver=ds.driver,
            height=ds.height,
            width=ds.width,
            crs=crs_name(ds.crs or ds.gcps[1]),
            bands=bands,
            readings=readings,
            notices=scene.notices if scene else (),
            problem=problem,
        )


def _band(ds: Any, number: int, drawn: Sequence[int], rule: Validity, scene: Scene | None) -> Band:
    role = "alpha" if rule.alpha == number else ""
    if scene and number in drawn:
        grey = "palette" if scene.palette is not None else "grey"
        role = grey if len(drawn) == 1 else _ROLES[drawn.index(number)]
    at = number - 1
    return Band(
        number,
        ds.dtypes[at],
        ds.colorinterp[at].name,
        _names(ds)[at] or "",
        ds.nodatavals[at],
        ds.scales[at],
        ds.offsets[at],
        tuple(ds.overviews(number)),
        role,
    )


def _names(ds: Any) -> Sequence[str | None]:
    """What the bands are called; nothing where one has a name that is no UTF-8 text, of which rasterio tells none."""
    try:
        return tuple(ds.descriptions)
    except UnicodeDecodeError:
        return (None,) * int(ds.count)


def _about(band: Band) -> str:
    parts = [band.dtype, band.meaning if band.meaning != ColorInterp.undefined.name else "not marked"]
    parts += [f"named {band.description}"] if band.description else []
    parts += [f"nodata {band.nodata:g}"] if band.nodata is not None else []
    parts += [f"scale {band.scale:g}, offset {band.offset:g}"] if (band.scale, band.offset) != (1, 0) else []
    parts.append({"": "not read", "alpha": "read as alpha"}.get(band.role, f"drawn as {band.role}"))
    return ", ".join(parts)


def _readings(
    ds: Any, bands: Sequence[int], rule: Validity, options: ReadOptions, scene: Scene | None
) -> Iterator[tuple[str, Reading]]:
    """Each question and its answer; of a scene that cannot be opened those about the file alone."""
    if scene:
        yield "bands", _drawn(scene, options)
    yield "alpha", _alpha(alpha_band(ds, bands), rule, options)
    yield "mask", _mask(validity(ds, bands, ReadOptions(nodata=options.nodata)).masks, options)
    yield "nodata", _nodata(ds, bands, rule, options)
    if scene:
        yield "stretch", _stretch(ds, scene)
        yield "overviews", _overviews(scene)
        yield "orientation", _orientation(ds)
        yield "ground", _ground(scene)


def _drawn(scene: Scene, options: ReadOptions) -> Reading:
    numbers = ",".join(map(str, scene.bands))
    what = "red, green, blue" if len(scene.bands) == 3 else "a palette" if scene.palette is not None else "grey"
    why = "as asked" if options.bands else "as the file marks them" if len(scene.bands) == 3 else "the only one"
    inverted = "; 0 is white" if scene.inverted else ""
    return Reading(list(scene.bands), f"{numbers} as {what}, {why}{inverted}", ("--bands",))


def _alpha(flagged: int | None, rule: Validity, options: ReadOptions) -> Reading:
    flags = ("--no-alpha",) if flagged else ()
    if flagged is None:
        return Reading(None, "no band is flagged", flags)
    if rule.alpha:
        return Reading(flagged, f"no data where band {flagged} is 0", flags)
    why = "a mask comes first" if options.alpha else "as asked"
    return Reading(None, f"band {flagged} is not asked, {why}", flags if not options.alpha else ("--ignore-mask",))


def _mask(present: Sequence[int], options: ReadOptions) -> Reading:
    if not present:
        return Reading(None, "none", ())
    value, whose = ("dataset", "the dataset") if len(present) == 1 else ("each band", "each band")
    if not options.mask:
        return Reading(None, f"mask band of {whose}, not asked", ("--ignore-mask",))
    return Reading(value, f"mask band of {whose}", ("--ignore-mask",))


def _nodata(ds: Any, bands: Sequence[int], rule: Validity, options: ReadOptions) -> Reading:
    own = [ds.nodatavals[band - 1] for band in bands]
    value = None if not any(v is not None for v in rule.nodata) else list(rule.nodata)
    flags = ("--nodata",)
    if options.nodata is not None:
        given = options.nodata_value()
        return Reading(value, "none, as asked" if given is None else f"{given:g} in every band, as asked", flags)
    if all(v is None for v in own):
        return Reading(value, "none", flags)
    text = f"{own[0]:g}" if len(set(map(str, own))) == 1 else ", ".join("none" if v is None else f"{v:g}" for v in own)
    if value is None:
        return Reading(None, f"{text}, not asked: {'a mask' if rule.masks else 'alpha'} comes first", flags)
    several = " in every band that is drawn" if len(own) > 1 else ""
    return Reading(value, f"{text}; no data where that holds{several}", flags)


def _stretch(ds: Any, scene: Scene) -> Reading:
    if scene.palette is not None:
        return Reading(None, "colours of the palette", ())
    if scene.stretch is None:
        return Reading(None, "8-bit values as they are", ("--stretch",))
    pairs = ", ".join(f"{low:g} to {high:g}" for low, high in dict.fromkeys(scene.stretch))
    scaled = any((ds.scales[band - 1], ds.offsets[band - 1]) != (1, 0) for band in scene.bands)
    pairs += " dB" * scene.decibels
    raw = " in raw values; MIN,MAX are in the band's units (scale, offset)" if scaled else ""
    return Reading([list(pair) for pair in scene.stretch], f"{pairs} drawn as 0 to 255{raw}", ("--stretch",))


def _overviews(scene: Scene) -> Reading:
    if not scene.overviews:
        return Reading([], "none", ())
    return Reading(
        list(scene.overviews),
        f"{', '.join(map(str, scene.overviews))}, the coarsest that is fine enough for the working size",
        ("--no-antialias",),
    )


def _orientation(ds: Any) -> Reading:
    turned = orientation(ds)
    how = "as stored" if turned == 1 else f"as stored; orientation {turned} of the file is not applied"
    return Reading(turned, how, ())


def _ground(scene: Scene) -> Reading:
    flags = ("--gsd", "--scale", "--long-side")
    try:
        metres = scene.pixel_metres()
    except RasterError:
        metres = math.nan
    if not (math.isfinite(metres) and metres > 0):
        return Reading(None, "size of a pixel not known", flags[1:])
    return Reading(metres, f"{metres:.4g} m a pixel", flags)
