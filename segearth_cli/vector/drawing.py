"""A mask and how it is drawn: which of its classes, where it lies, and what its polygons are described by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.errors import UsageError
from segearth_cli.raster import (
    Ground,
    MaskFile,
    Seal,
    Window,
    check_still,
    opened_dataset,
    read_confidence,
    read_mask,
    same_pixels,
    take_seal,
)
from segearth_cli.vector.features import FIELDS, FeatureBatch, VectorLayer
from segearth_cli.vector.options import VectorizeOptions
from segearth_cli.vector.polygons import Shapes


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is drawn of a mask."""

    mask: MaskFile
    """The mask, or one that was cleaned in its place."""
    kept: frozenset[int] | None
    """The codes that are drawn; None = all but background and nodata."""
    ground: Ground
    """Where the mask lies, and what it measures there."""
    options: VectorizeOptions
    """How it is drawn."""
    sealed: tuple[tuple[str, Seal], ...]
    """The mask and its confidence, if any, as they looked before they were read."""

    @classmethod
    def of(cls, path: str, options: VectorizeOptions) -> Drawing:
        """What options ask for of a mask. Raises RasterError, UsageError for a class or a confidence of another."""
        sealed = tuple((str(name), take_seal(str(name))) for name in (path, options.confidence) if name)
        mask = read_mask(path)
        kept = None if options.classes is None else mask.codes(options.classes)
        if options.confidence:
            _check_confidence(options.confidence, mask)
        return cls(mask, kept, Ground(mask.frame, mask.path), options, sealed)

    def check_still(self) -> None:
        """Raises SceneChangedError where the mask or its confidence changed while they were read."""
        for name, seal in self.sealed:
            check_still(name, seal)

    @property
    def weights(self) -> int:
        """How many weights are summed over each polygon: confidence, and where there is some; or none."""
        return 2 if self.options.confidence else 0

    def weights_in(self, window: Window) -> NDArray[np.float64] | None:
        """Confidence, and 1 where there is some, (2, h, W), of a window; None where it was not asked for."""
        if self.options.confidence is None:
            return None
        confidence = read_confidence(self.options.confidence, window)
        return np.stack([np.nan_to_num(confidence), np.isfinite(confidence)])

    def layer(self, out: Path) -> VectorLayer:
        """What the layer in a file is called, and what its features are described by."""
        mask, ground, options = self.mask, self.ground, self.options
        left_out = {"part_of", "color"} | (set() if options.confidence else {"confidence"})
        fields = tuple(name for name in FIELDS if name not in left_out)
        codes = sorted(self.kept if self.kept is not None else mask.names.keys() - {mask.background, mask.nodata})
        colors = {mask.name(code): mask.color(code) for code in codes}
        pixel = float(np.sqrt(abs(np.linalg.det(ground.placement.pixel))))
        crs = ground.placement.crs.to_wkt() if ground.placement.crs else None
        kind = "MultiPolygon" if options.dissolve or options.connectivity == 8 else "Polygon"
        return VectorLayer(out.stem, crs, kind, fields, colors, pixel, mask.tags | options.tags())

    def features(self, batch: Shapes) -> FeatureBatch:
        """Shapes on the map with what each is described by."""
        geometry = _multi(batch.geometry) if self.options.connectivity == 8 else batch.geometry
        return self.described(geometry, batch.code, np.column_stack([*self.ground.measure(geometry), batch.sums]))

    def described(self, geometry: NDArray[Any], code: NDArray[np.int64], values: NDArray[np.float64]) -> FeatureBatch:
        """Features of geometries (F,), codes and values (F, 2 or 4): area, perimeter, sums of confidence and of pixels.

        Area and perimeter are those on the ground in m2 and m; the confidence is the mean over pixels that have one.
        """
        names = {one: self.mask.name(one) for one in np.unique(code).tolist()}
        columns: dict[str, NDArray[Any]] = {
            "class_id": code,
            "class": np.array([names[one] for one in code.tolist()], object),
            "area_m2": values[:, 0],
            "perimeter_m": values[:, 1],
        }
        if self.options.confidence:
            total, count = values[:, 2:].T
            columns["confidence"] = np.round(np.divide(total, count, out=np.zeros_like(total), where=count > 0), 6)
        return FeatureBatch(geometry, columns)


def add_counts(counts: dict[str, int], names: NDArray[Any]) -> None:
    """Adds the polygons of each class, from the class of each, to counts."""
    for name, n in zip(*np.unique(names.astype(str), return_counts=True), strict=True):
        counts[str(name)] = counts.get(str(name), 0) + int(n)


def _multi(geometry: NDArray[Any]) -> NDArray[Any]:
    """All geometries as multipolygons."""
    single = shapely.get_type_id(geometry) == shapely.GeometryType.POLYGON
    many = geometry.copy()
    if single.any():
        many[single] = shapely.multipolygons(geometry[single], indices=np.arange(int(single.sum())))
    return many


def _check_confidence(path: Path, mask: MaskFile) -> None:
    """Raises UsageError where a confidence raster is not of the mask's pixels."""
    with opened_dataset(path) as ds:
        if ds.count != 1 or "complex" in ds.dtypes[0] or not same_pixels(mask.frame, ds):
            raise UsageError(f"--confidence {path}: need one band of real values on the same pixels as {mask.path}")
