"""What people look at to know whether training works: the losses as curves, features as colours."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segearth_cli.files import write_bytes

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Look:
    """One held-out window: its pixels and what is made of them."""

    image: Array
    """(H, W, 3), 0 to 1."""
    tokens: Array
    """(h, w, C): the encoder's."""
    features: Array
    """(H, W, C): upsampled."""
    bilinear: Array
    """(H, W, C): the tokens resized, to compare."""
    reconstruction: Array
    """(H, W, 3), 0 to 1: the image seen in the features."""


def save_looks(looks: Sequence[Look], path: Path, title: str) -> None:
    """Writes a row a window: image, features of the patches, resized bilinearly, upsampled, and the image rebuilt.

    The three pictures of features share their principal components and their range of colours.
    """
    columns = ["image", "features of the patches", "resized bilinearly", "upsampled", "image from features"]
    rows = []
    for look in looks:
        colours = Components(look.tokens)
        rows.append([look.image, *map(colours, (look.tokens, look.bilinear, look.features)), look.reconstruction])
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(columns), 2.7 * len(rows) + 0.4), layout="constrained")
    figure.suptitle(title)
    for i, row in enumerate(rows):
        for j, (name, pixels) in enumerate(zip(columns, row, strict=True)):
            axes = figure.add_subplot(len(rows), len(columns), i * len(columns) + j + 1)
            axes.imshow(pixels, interpolation="nearest")
            axes.set_axis_off()
            if i == 0:
                axes.set_title(name, fontsize=9)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_bytes(path, picture.getvalue())


class Components:
    """The first three principal components of tokens (h, w, C), as red, green and blue of any map of C channels."""

    def __init__(self, tokens: Array):
        flat = tokens.reshape(-1, tokens.shape[-1])
        self.mean = flat.mean(axis=0)
        self.axes = np.linalg.svd(flat - self.mean, full_matrices=False)[2][:3].T
        low, high = np.percentile((flat - self.mean) @ self.axes, [1, 99], axis=0)
        self.low, self.span = low, np.maximum(high - low, 1e-6)

    def __call__(self, maps: Array) -> Array:
        """Maps (H, W, C) -> colours (H, W, 3), 0-1."""
        colours: Array = np.clip(((maps - self.mean) @ self.axes - self.low) / self.span, 0, 1).astype(np.float32)
        return colours


def save_curves(log: Path, path: Path) -> None:
    """Writes the losses of a train.csv as curves."""
    with log.open(newline="") as f:
        rows = list(csv.DictReader(f))
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for place, term in enumerate(("features", "image"), start=1):
        axes = figure.add_subplot(1, 2, place)
        for name, style in ((term, "-"), (f"held_out_{term}", "o-"), (f"bilinear_{term}", "x--")):
            points = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=name.replace("_", " "), lw=1, ms=4)
        axes.set_xlabel("step")
        axes.set_title(f"{term} loss")
        axes.legend(fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    write_bytes(path, picture.getvalue())
