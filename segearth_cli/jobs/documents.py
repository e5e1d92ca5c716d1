"""`run.json` and the records of shards: what stands in them, sealed by a hash of their own content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from segearth_cli.jobs import typed
from segearth_cli.prediction import FACT_OPTIONS, FACT_TYPES, Measured
from segearth_cli.raster import BLOCK, Window

FORMAT = 3
Kind = Literal["mask", "confidence", "scores"]
_NOT_SEALED = ("run", "scene.path")


@dataclass(frozen=True, slots=True)
class SceneFile:
    """Which scene a run is of."""

    path: str
    """Where it was, without secrets; told, not compared."""
    bytes: int | None
    """Size of its files; null when it is no local file."""
    modified: str | None
    """When its files last changed, UTC; null when it is no local file."""
    fingerprint: str
    """SHA-256 of samples of its files or pixels (`raster.identity`)."""


@dataclass(frozen=True, slots=True)
class FrameValues:
    """Size and georeference of the mask, as `raster.frame_to_json` gives them."""

    height: int
    """Of the mask, in pixels."""
    width: int
    """Of the mask, in pixels."""
    crs: str | None
    """WKT; null when there is none."""
    transform: tuple[float, float, float, float, float, float]
    """Affine, pixels to map units, row by row."""
    gcps: tuple[tuple[float | str | None, ...], ...]
    """Ground control points: row, col, x, y, z, id, info."""
    gcps_crs: str | None
    """WKT of their CRS."""
    rpcs: Mapping[str, Any] | None
    """Rational polynomial coefficients by rasterio's names."""

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            if (value := getattr(self, name)) < 1:
                raise typed.Unfit(f"frame.{name}", str(value), "a whole number from 1")


@dataclass(frozen=True, slots=True)
class Run:
    """The content of `run.json`: everything that makes a run what it is."""

    format: int
    """Version of this layout."""
    scene: SceneFile
    """The scene."""
    facts: Mapping[str, Any]
    """Everything that decides a pixel, as in the tag `SEGEARTH_RUN`."""
    classes: tuple[Mapping[str, Any], ...]
    """The classes, as in the tag `SEGEARTH_CLASSES`."""
    shard_size: int
    """Side of a shard, in pixels."""
    outputs: tuple[Kind, ...]
    """What is written of each shard."""
    frame: Mapping[str, Any]
    """Size and georeference of the mask (`raster.frame_to_json`)."""
    run: str = ""
    """SHA-256 of all of it, but of the scene's path."""

    def __post_init__(self) -> None:
        if self.shard_size < BLOCK or self.shard_size % BLOCK:
            raise typed.Unfit("shard_size", str(self.shard_size), f"a multiple of {BLOCK} px")
        for name, value in self.facts.items():
            if name in FACT_OPTIONS:
                typed.chosen(FACT_OPTIONS[name], value, f"facts.{name}")
            elif name in FACT_TYPES:
                typed.fitted(FACT_TYPES[name], value, f"facts.{name}")
        typed.fitted(FrameValues, dict(self.frame), "frame")
        if "mask" not in self.outputs:
            raise typed.Unfit("outputs", ", ".join(self.outputs) or "nothing", "a list with mask in it")

    def sealed(self) -> Run:
        """The same run with the hash of its content."""
        return replace(self, run=_hash({key: value for key, value in self.flat().items() if key not in _NOT_SEALED}))

    def flat(self) -> dict[str, Any]:
        """All values by their keys, those of objects within by `outer.inner`."""
        return _flat(typed.plain(self))


@dataclass(frozen=True, slots=True)
class Record:
    """What became of a shard: written after its files, for which it vouches."""

    shard: str
    """Its name."""
    run: str
    """The hash of the run it belongs to."""
    state: Literal["done", "empty", "failed"]
    """empty: no pixel is data, so that there are no files."""
    window: Window
    """Its place on the mask, in pixels."""
    files: Mapping[str, str]
    """SHA-256 of each file, by name; those of all kinds when it is done, else none."""
    pixels: Mapping[str, int]
    """Pixels of each code, 255 = nodata."""
    computed_windows: int
    """Windows with data, which the model ran."""
    seconds: float
    """Time on the clock."""
    waited_seconds: float
    """The part of it without new pixels for the model."""
    error: str | None = None
    """Why it failed."""
    sha256: str = ""
    """SHA-256 of all of it."""

    def sealed(self) -> Record:
        """The same record with the hash of its content."""
        return replace(self, sha256=_hash({k: v for k, v in typed.plain(self).items() if k != "sha256"}))

    @property
    def measured(self) -> Measured:
        """What the shard took and gave."""
        pixels = {int(code): n for code, n in self.pixels.items()}
        return Measured(pixels, self.computed_windows, self.seconds, self.waited_seconds)


def differences(there: Run, now: Run) -> list[str]:
    """A line for each value that differs between two runs, but for those that tell nothing."""
    a, b = there.flat(), now.flat()
    found: dict[str, str] = {}  # the classes stand in a run twice, first as the model is asked for them
    for key in dict.fromkeys([*a, *b]):
        if key not in _NOT_SEALED and a.get(key) != b.get(key):
            found.setdefault(key.removeprefix("facts."), f"{_short(a.get(key))} there, {_short(b.get(key))} now")
    return [f"{name}: {values}" for name, values in found.items()]


def _hash(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def _short(value: Any) -> str:
    text = "not set" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:197] + "..."
