"""Training canvases of 224 px: single views, 2x2 mosaics and free-form blends of images, and their frozen tokens."""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from .trunk import GRID, PATCH

SIDE = GRID * PATCH
MIXED, VOID = -1, 4  # a patch of no single image; a patch of fill without data


@dataclass(frozen=True)
class Photo:
    """One training image: pixels (H, W, 3), RGB, its captions, and the scene type its file name gives, maybe empty."""

    pixels: NDArray[np.uint8]
    captions: list[str]
    stem: str
    satellite: bool  # 10 m Sentinel-2, else aerial
    table: dict[str, bool]  # words that somebody looked for, and whether they are there; of UC Merced's images only


def photos(folder: Path) -> list[Photo]:
    """All images but those of the test split, in the order of captions.jsonl."""
    archives: dict[str, dict[str, bytes]] = {}
    tables = _tables(folder / "labelled" / "ucm_multilabels" / "ucm_multilabels.csv")
    found = []
    for line in (folder / "captions.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["split"] == "test":
            continue
        if row["archive"] not in archives:
            archives[row["archive"]] = _members(folder / row["archive"])
        pixels = np.asarray(Image.open(io.BytesIO(archives[row["archive"]][row["key"] + ".jpg"])).convert("RGB"))
        name = row["key"].split("/")[1]
        stem = re.sub(r"[_\d]+", "", name).lower()
        table = tables.get(name, {}) if row["archive"].startswith("ucm") else {}
        found.append(Photo(pixels, row["captions"], stem, row["archive"].startswith("eurosat"), table))
    return found


def _tables(path: Path) -> dict[str, dict[str, bool]]:
    """For every image of UC Merced which of 17 words are there (Chaudhuri et al. 2018)."""
    with path.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    return {row.pop("image"): {name: value == "1" for name, value in row.items()} for row in rows}


def _members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as opened:
        return {m.name: opened.extractfile(m).read() for m in opened if m.isfile()}  # type: ignore[union-attr]


def plan(images: list[Photo], rng: np.random.Generator) -> list[tuple[str, list[int]]]:
    """Canvases to draw, shuffled: (kind, indices into images). Kinds: single, mosaic, blend."""
    aerial = [i for i, p in enumerate(images) if not p.satellite]
    satellite = [i for i, p in enumerate(images) if p.satellite]
    watery = [i for i in satellite if images[i].stem in ("sealake", "river")]
    dry = [i for i in satellite if images[i].stem != "sealake"]
    wide = [i for i in aerial if images[i].stem in _WIDE]
    rows: list[tuple[str, list[int]]] = [("single", [i]) for i in aerial + satellite]
    rows += [("mosaic", list(rng.choice(aerial, 4, replace=False))) for _ in range(4200)]
    rows += [("mosaic", list(rng.choice(satellite, 4, replace=False))) for _ in range(1500)]
    rows += [("mosaic", list(rng.choice(aerial + satellite * 3, 4, replace=False))) for _ in range(600)]
    rows += [("blend", [int(rng.choice(watery)), int(rng.choice(dry))]) for _ in range(1500)]
    rows += [("blend", list(rng.choice(satellite, 2, replace=False))) for _ in range(600)]
    rows += [("blend", list(rng.choice(wide, 2, replace=False))) for _ in range(1200)]
    rows += [("blend", list(rng.choice(aerial, 2, replace=False))) for _ in range(600)]
    return [rows[i] for i in rng.permutation(len(rows))]


# Scene types of one even cover, whose blends have outlines like real ground cover.
_WIDE = frozenset(
    {"forest", "farmland", "agricultural", "desert", "bareland", "meadow", "mountain", "beach", "river", "pond"}
    | {"chaparral", "denseresidential"}
)


def draw(kind: str, members: list[Photo], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """A canvas (224, 224, 3) and, for every patch (14, 14), which member it shows, MIXED or VOID."""
    region = np.zeros((SIDE, SIDE), np.int8)
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    if kind == "mosaic":
        for n, (rows, columns) in enumerate(corner(rng)):
            region[rows, columns] = n
            target = canvas[rows, columns]
            target[:] = _view(members[n], target.shape[0], target.shape[1], rng, smallest=0.5)
    elif kind == "blend":
        region[_blob(rng) <= 0] = 1
        for n, member in enumerate(members):
            view = _view(member, SIDE, SIDE, rng, smallest=0.3)
            canvas[region == n] = view[region == n]
    else:
        canvas[:] = _view(members[0], SIDE, SIDE, rng, smallest=0.35)
    if rng.random() < 0.15:
        outside = _outside(rng)
        canvas[outside] = 255 if rng.random() < 0.25 else 0
        region[outside] = VOID
    return canvas, _per_patch(region)


def _view(photo: Photo, height: int, width: int, rng: np.random.Generator, smallest: float) -> NDArray[np.uint8]:
    """A random crop of at least that share of the image, turned, mirrored, resampled and recoloured."""
    h, w = photo.pixels.shape[:2]
    share, aspect = rng.uniform(smallest, 1) ** 0.5, rng.uniform(0.85, 1.18) ** 0.5
    ch, cw = min(h, int(h * share * aspect)), min(w, int(w * share / aspect))
    top, left = rng.integers(0, h - ch + 1), rng.integers(0, w - cw + 1)
    crop = np.rot90(photo.pixels[top : top + ch, left : left + cw], int(rng.integers(4)))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    crop = np.ascontiguousarray(crop)
    if not photo.satellite and rng.random() < 0.3:  # as a coarser sensor would see it
        crop = coarser(crop, rng.uniform(0.25, 0.7))
    return recoloured(fitted(crop, height, width), rng, 1.6 if photo.satellite else 1.0)


def corner(rng: np.random.Generator) -> list[tuple[slice, slice]]:
    """Rows and columns of the four parts that meet at a random corner of patches."""
    r, c = (int(n) * PATCH for n in rng.integers(5, 10, 2))
    return [(rows, columns) for rows in (slice(0, r), slice(r, SIDE)) for columns in (slice(0, c), slice(c, SIDE))]


def coarser(crop: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Pixels (h, w, 3) with that share of the rows and columns."""
    size = max(1, int(crop.shape[1] * share)), max(1, int(crop.shape[0] * share))
    return np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.BOX))


def fitted(crop: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """Pixels (h, w, 3) resized to (height, width, 3), bilinear with antialias."""
    return np.asarray(Image.fromarray(crop).resize((width, height), Image.Resampling.BILINEAR), np.float32)


def recoloured(x: NDArray[np.float32], rng: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    """Pixels (H, W, 3), 0-255, with random saturation, contrast, tint and brightness."""
    grey = x.mean(axis=2, keepdims=True)
    x = grey + (x - grey) * rng.uniform(1 - 0.35 * strength, 1 + 0.35 * strength)
    mean = x.mean()
    x = (x - mean) * rng.uniform(1 - 0.3 * strength, 1 + 0.4 * strength) + mean
    tinted = x * rng.uniform(1 - 0.08 * strength, 1 + 0.08 * strength, 3) + rng.uniform(-28, 28) * strength
    return np.clip(tinted, 0, 255).astype(np.uint8)


def _blob(rng: np.random.Generator) -> NDArray[np.float32]:
    """A smooth random field (224, 224), positive on 20 to 60 % of the canvas."""
    noise = torch.from_numpy(rng.normal(size=(1, 1, 5, 5)).astype(np.float32))
    fine = torch.from_numpy(rng.normal(size=(1, 1, 14, 14)).astype(np.float32))
    smooth = F.interpolate(noise, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
    smooth = smooth + 0.25 * F.interpolate(fine, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
    field: NDArray[np.float32] = smooth[0, 0].numpy()
    return np.asarray(field - np.quantile(field, 1 - rng.uniform(0.2, 0.6)))


def _outside(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where a tilted scene does not reach: beyond a random line near the border."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.4 else rng.integers(4) * np.pi / 2 + rng.normal(0, 0.12)
    return np.asarray(np.cos(angle) * x + np.sin(angle) * y > rng.uniform(0.22, 0.45))


def _per_patch(region: NDArray[np.int8]) -> NDArray[np.int8]:
    patches = region.reshape(GRID, PATCH, GRID, PATCH).transpose(0, 2, 1, 3).reshape(GRID, GRID, -1)
    shares = np.stack([(patches == n).mean(axis=2) for n in range(VOID + 1)])
    return np.where(shares.max(axis=0) >= 0.75, shares.argmax(axis=0), MIXED).astype(np.int8)


def painter(
    images: list[Photo], rows: list[tuple[str, list[int]]]
) -> Callable[[int, np.random.Generator], tuple[NDArray[np.uint8], NDArray[np.int8]]]:
    """What draws a row: (its number, rng) -> canvas and the member that each patch shows."""

    def paint(row: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        kind, members = rows[row]
        return draw(kind, [images[i] for i in members], rng)

    return paint
