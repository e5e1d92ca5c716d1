"""Makes the sample tiles beside this file: `python sample_tiles/make.py [FOLDER]`. Seeded: the same pixels every time.

A landscape as seen from above, drawn with arithmetic: fields with furrows, a river with a sandy bank, roads, houses
with lit and shaded roof halves and a shadow to the north-west, trees in a wood and along the roads.
"""

import sys
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

HERE = Path(__file__).parent
SUN = np.array([-0.6, -0.8])  # rows, columns that a shadow reaches per pixel of height
RED_EDGE = {"field": 1.6, "tree": 2.2, "water": 0.3, "built": 1.1}  # near infrared over green, by kind


def smooth(rng, height, width, scale):
    """Noise (H, W) in -1..1 that varies over about `scale` pixels."""
    rows, cols = height // scale + 3, width // scale + 3
    coarse = rng.uniform(-1, 1, (rows, cols))
    y, x = np.arange(height) / scale, np.arange(width) / scale
    i, j = y.astype(int), x.astype(int)
    v, u = (y - i)[:, None], (x - j)[None]
    v, u = v * v * (3 - 2 * v), u * u * (3 - 2 * u)
    top = coarse[np.ix_(i, j)] * (1 - u) + coarse[np.ix_(i, j + 1)] * u
    bottom = coarse[np.ix_(i + 1, j)] * (1 - u) + coarse[np.ix_(i + 1, j + 1)] * u
    return top * (1 - v) + bottom * v


class Landscape:
    """Reflectance (H, W, 3) of red, green, blue and near infrared (H, W), painted layer over layer."""

    def __init__(self, height, width, seed):
        self.rng = np.random.default_rng(seed)
        self.shape = height, width
        self.rows, self.cols = np.mgrid[:height, :width].astype(float)
        self.colour = np.zeros((height, width, 3))
        self.infrared = np.zeros((height, width))
        self.taken = np.zeros((height, width), bool)  # where no house or tree may stand

    def around(self, row, col, reach):
        """The box of pixels at most `reach` from a place."""
        return np.s_[max(0, int(row) - reach) : int(row) + reach + 1, max(0, int(col) - reach) : int(col) + reach + 1]

    def paint(self, where, colour, kind, texture=0.0, box=np.s_[:, :]):
        """Where (H, W) is a share 0-1 of each pixel of the box."""
        grain = 1 + texture * self.rng.normal(0, 1, where.shape)
        new = np.array(colour) * grain[..., None]
        share = np.clip(where, 0, 1)[..., None]
        self.colour[box] = self.colour[box] * (1 - share) + new * share
        share, new = share[..., 0], new[..., 1] * RED_EDGE[kind]
        self.infrared[box] = self.infrared[box] * (1 - share) + new * share

    def shade(self, where, strength, box):
        """Darken a share of each pixel of the box."""
        factor = 1 - strength * np.clip(where, 0, 1)
        self.colour[box] *= factor[..., None]
        self.infrared[box] *= factor

    def fields(self):
        """Parcels of crops, grass and bare soil with furrows."""
        crops = [(0.36, 0.45, 0.22), (0.52, 0.53, 0.27), (0.28, 0.40, 0.19), (0.56, 0.46, 0.33), (0.62, 0.56, 0.33)]
        bend = 14 * smooth(self.rng, *self.shape, 90)
        v, u = self.rows + 0.25 * self.cols + bend, self.cols - 0.2 * self.rows + bend
        parcel = np.floor(v / 78).astype(int) * 7 + np.floor(u / 104).astype(int)
        for number in np.unique(parcel):
            crop = crops[number * 5 % 7 % len(crops)]
            across = v if number % 2 else u
            furrows = 1 + 0.05 * np.sin(across * 2 * np.pi / 6)
            where = parcel == number
            self.paint(where, crop, "field", 0.04)
            self.colour[where] *= furrows[where, None]
        border = np.minimum(v % 78, u % 104)
        self.paint(border < 2, (0.27, 0.36, 0.18), "field", 0.08)

    def river(self):
        """Water that winds from top to bottom, with banks of sand and grass."""
        centre = self.shape[1] * 0.28 + 38 * np.sin(self.rows / 70) + 12 * np.sin(self.rows / 23 + 1)
        away = np.abs(self.cols - centre) - 15 - 4 * np.sin(self.rows / 41)
        self.paint(away < 11, (0.30, 0.42, 0.21), "field", 0.07)
        self.paint(np.clip(4.5 - away, 0, 1), (0.70, 0.64, 0.49), "built", 0.05)
        self.paint(np.clip(1 - away, 0, 1), (0.17, 0.27, 0.31), "water", 0.02)
        self.taken |= away < 9

    def road(self, distance, half, colour=(0.47, 0.47, 0.47)):
        """Asphalt where the distance (H, W) to the centre line is below `half` pixels, with a line in the middle."""
        away = np.abs(distance)
        self.paint(np.clip(half + 2 - away, 0, 1), (0.55, 0.52, 0.42), "built", 0.05)
        self.paint(np.clip(half + 0.5 - away, 0, 1), colour, "built", 0.03)
        if half > 4:
            dashed = (self.rows + self.cols) % 14 < 8
            self.paint(np.clip(1 - away, 0, 1) * dashed, (0.85, 0.85, 0.82), "built")
        self.taken |= away < half + 3

    def house(self, row, col, length, depth, angle, roof):
        """A gabled house: the half of the roof towards the sun is brighter."""
        sine, cosine, box = np.sin(angle), np.cos(angle), self.around(row, col, 26)

        def inside(down, right):
            y, x = self.rows[box] - row - down, self.cols[box] - col - right
            along, across = x * cosine + y * sine, -x * sine + y * cosine
            edge = np.minimum(length / 2 - np.abs(along), depth / 2 - np.abs(across))
            return np.clip(edge + 0.5, 0, 1), across

        for height in np.arange(1, 8):
            self.shade(inside(*(SUN * height))[0] * (inside(*(SUN * (height - 1)))[0] < 1), 0.12, box)
        where, across = inside(0, 0)
        self.paint(where, roof, "built", 0.04, box)
        self.shade(where * (across < 0), 0.28, box)
        self.taken[box] |= where > 0

    def tree(self, row, col, radius):
        """A crown with a lit side and a shadow."""
        box = self.around(row, col, 16)
        y, x = self.rows[box] - row, self.cols[box] - col
        self.shade(np.clip(radius - np.hypot(y - SUN[0] * radius, x - SUN[1] * radius), 0, 1), 0.45, box)
        where = np.clip(radius - np.hypot(y, x), 0, 1)
        self.paint(where, (0.16, 0.29, 0.12), "tree", 0.12, box)
        lit = -(y * SUN[0] + x * SUN[1]) / radius
        self.paint(where * np.clip(lit, 0, 1), (0.27, 0.41, 0.18), "tree", 0.12, box)

    def village(self, streets):
        """Houses along streets (distance (H, W), angle), with gardens and trees."""
        roofs = [(0.62, 0.30, 0.22), (0.70, 0.38, 0.28), (0.45, 0.42, 0.42), (0.55, 0.26, 0.20), (0.76, 0.74, 0.70)]
        for distance, angle in streets:
            for _ in range(300):
                row, col = self.rng.integers(12, self.shape[0] - 12), self.rng.integers(12, self.shape[1] - 12)
                away = abs(distance[row, col])
                box = np.s_[row - 11 : row + 12, col - 11 : col + 12]
                if 13 < away < 38 and not self.taken[box].any():
                    near = self.around(row, col, 18)
                    garden = np.clip(17 - np.hypot(self.rows[near] - row, self.cols[near] - col), 0, 1)
                    self.paint(garden * ~self.taken[near], (0.34, 0.46, 0.22), "field", 0.08, near)
                    size = self.rng.uniform(13, 19), self.rng.uniform(9, 13)
                    self.house(row, col, *size, angle, roofs[self.rng.integers(len(roofs))])

    def trees(self, number, wood):
        """Single trees, and a wood where the share `wood` (H, W) is high."""
        found = 0
        for _ in range(number * 40):
            row, col = self.rng.integers(0, self.shape[0]), self.rng.integers(0, self.shape[1])
            if not self.taken[row, col] and self.rng.random() < 0.015 + wood[row, col]:
                self.tree(row, col, self.rng.uniform(3, 6.5))
                found += 1
                if found == number:
                    break

    def picture(self):
        """Red, green, blue, near infrared (4, H, W) in 0-1, with light that varies a little and the sensor's noise."""
        bands = np.concatenate([self.colour, self.infrared[..., None]], axis=2).transpose(2, 0, 1)
        light = 1 + 0.05 * smooth(self.rng, *self.shape, 60)
        return np.clip(bands * light + self.rng.normal(0, 0.008, bands.shape), 0, 1)


def landscape(height, width, seed, trees=420):
    """Bands (4, H, W) in 0-1 of one landscape."""
    land = Landscape(height, width, seed)
    land.fields()
    land.river()
    main = (land.rows - height * 0.62) * 0.96 + (land.cols - width / 2) * 0.22
    side = (land.cols - width * 0.7) * 0.97 - (land.rows - height / 2) * 0.18
    land.road(main, 6)
    land.road(side, 4, (0.52, 0.51, 0.49))
    land.village([(main, -0.225), (side, 1.75)])
    wood = np.clip(smooth(land.rng, height, width, 110) - 0.25, 0, 1) * (np.abs(main) > 40)
    land.trees(trees, wood)
    return land.picture()


def write(path, bands, crs, transform, **profile):
    """One GeoTIFF, tiled and compressed without loss."""
    count, height, width = bands.shape
    options = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "photometric": "RGB"}
    options |= {"compress": "deflate", "predictor": 2, "zlevel": 9, "interleave": "pixel", **profile}
    shape = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    with rasterio.open(path, "w", **options, **shape, crs=crs, transform=transform) as ds:
        ds.write(bands)


def to_8_bits(bands):
    """Three bands in 0-1 as uint8 with few enough shades to compress well."""
    return (np.rint(bands[:3] * 127) * 2).astype(np.uint8)


def make(folder):
    """The four tiles."""
    folder.mkdir(parents=True, exist_ok=True)
    utm = to_8_bits(landscape(448, 448, seed=7))
    write(folder / "utm.tif", utm, "EPSG:32632", from_origin(356000, 5645000, 0.5, 0.5))
    side = 0.5 / 111_319.49
    write(folder / "geographic.tif", to_8_bits(landscape(336, 400, seed=11)), "EPSG:4326",
          from_origin(6.9412, 50.9375, side / np.cos(np.radians(50.9375)), side))  # fmt: skip
    raw = np.rint(300 + 3200 * landscape(256, 256, seed=19)).astype(np.uint16) // 16 * 16
    write(folder / "uint16.tif", raw, "EPSG:32632", from_origin(357000, 5644000, 0.5, 0.5), alpha="NO")
    hole = to_8_bits(landscape(384, 320, seed=23)) | 2
    rows, cols = np.mgrid[:384, :320]
    flown = (cols + 0.35 * rows > 95) & (cols - 0.3 * (384 - rows) < 235)
    write(folder / "nodata.tif", hole * flown, "EPSG:32632", from_origin(358000, 5643000, 0.5, 0.5), nodata=0)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
