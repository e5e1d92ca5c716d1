"""`segearth vectorize` against `rasterio.features.shapes` on the whole band and a fiona writer, on made masks.

    python -m benchmarks.vectorize [--folder /tmp] [--repeat 3]
    python -m benchmarks.vectorize --options [--only="--simplify 1px"] [--sides 2500 5000 10000 20000]
    python -m benchmarks.vectorize --options --only=--partitioned --sides 50000

Each run is a process of its own, imports included; the table has the best of the repeats, taken in turn, in wall-clock
and processor seconds, and the peak resident memory. The other side writes the class code alone, ours all fields. With
--options: the processor seconds and peak of each option on masks with 2 % noise, to a GeoPackage where no format is
named. Masks of more than 20,000 px are a VRT of those of 10,000 px, side by side.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.warp import reproject

from benchmarks import processes

CASES = {"clean 10k x 10k": (10_000, 0.0), "2 % noise 10k x 10k": (10_000, 0.02), "clean 20k x 20k": (20_000, 0.0)}

THEIRS = """
import sys, fiona, rasterio
from rasterio import features
with rasterio.open(sys.argv[1]) as ds:
    mask, transform, crs = ds.read(1), ds.transform, ds.crs.to_wkt()
schema = {"geometry": "Polygon", "properties": {"class_id": "int"}}
with fiona.open(sys.argv[2], "w", driver="GPKG", schema=schema, crs_wkt=crs) as out:
    shapes = features.shapes(mask, transform=transform)
    out.writerecords({"geometry": g, "properties": {"class_id": int(v)}} for g, v in shapes)
"""
SIDES = {
    "rasterio.features.shapes + fiona": [sys.executable, "-c", THEIRS],
    "segearth vectorize": [sys.executable, "-m", "segearth_cli", "vectorize", "--quiet", "--overwrite", "-o"],
}
OPTIONS = (
    "", "--simplify 1px", "--smooth", "--connectivity 8", "--dissolve", "--min-area 9px", "--fill-holes 9px",
    "--simplify 1px --smooth", "--regularize", "--partitioned",
    "--dissolve -f geojson", "--dissolve -f fgb", "--dissolve -f shp", "--dissolve -f parquet",
)  # fmt: skip
LARGEST = 20_000  # pixels of a side that are one file
TILE = 10_000


def clean(size: int, classes: int = 6) -> np.ndarray:
    """A mask of patches of all sizes: the largest of smooth random fields at two scales."""
    rng = np.random.default_rng(0)
    best, codes = np.full((size, size), -np.inf, np.float32), np.zeros((size, size), np.uint8)
    for code in range(classes):
        field = np.zeros((size, size), np.float32)
        for cells, weight in ((size // 100, 1.0), (size // 20, 0.45)):
            zoomed = np.empty_like(field)
            grid = {"src_transform": from_origin(0, size, size / cells, size / cells), "src_crs": "EPSG:32633"}
            reproject(
                rng.standard_normal((cells, cells)).astype(np.float32), zoomed, **grid, dst_crs="EPSG:32633",
                dst_transform=from_origin(0, size, 1, 1), resampling=Resampling.cubic,
            )  # fmt: skip
            field += weight * zoomed
        codes[field > best] = code
        np.maximum(best, field, out=best)
    return codes


def make(path: Path, size: int, noise: float) -> None:
    """Write the mask of a case: tiles of 512, deflate. Larger ones repeat a mask of 10k x 10k, mirrored."""
    mask = clean(min(size, 10_000))
    if size > len(mask):
        mask = np.concatenate([np.concatenate([mask, mask], axis=1), np.concatenate([mask[:, ::-1]] * 2, axis=1)])
    rng = np.random.default_rng(1)
    hit = rng.random(mask.shape, np.float32) < noise
    mask[hit] = rng.integers(0, 6, int(hit.sum()))
    form = {"width": size, "height": size, "count": 1, "dtype": "uint8", "nodata": 255, "compress": "deflate"}
    place = {"crs": "EPSG:32633", "transform": from_origin(400_000, 5_000_000, 0.5, 0.5)}
    with rasterio.open(path, "w", driver="GTiff", tiled=True, blockxsize=512, blockysize=512, **form, **place) as ds:
        ds.write(mask, 1)


def measure(command: list[str], mask: Path, out: Path) -> tuple[float, float, float]:
    """Wall-clock seconds, processor seconds and peak memory in MB of one run."""
    if out.is_dir():
        shutil.rmtree(out)
    out.unlink(missing_ok=True)
    paths = [str(out), str(mask)] if command[-1] == "-o" else [str(mask), str(out)]
    used = processes.run([*command, *paths])
    if used.code:
        sys.exit(f"{' '.join(command)} failed on {mask}: {used.stderr[-500:]}")
    return used.seconds, used.cpu_seconds, used.peak_bytes / (1 << 20)


def mask_of(folder: Path, size: int, noise: float) -> Path:
    """The mask of a case, made where it is not there."""
    if size > LARGEST:
        return side_by_side(folder, size, noise)
    mask = folder / f"bench_{size}_{noise}.tif"
    if not mask.exists():
        apart = multiprocessing.Process(target=make, args=(mask, size, noise))  # a child inherits its parent's peak
        apart.start()
        apart.join()
    return mask


def side_by_side(folder: Path, size: int, noise: float) -> Path:
    """A VRT of a mask of TILE px, again and again."""
    source = mask_of(folder, TILE, noise).name
    band = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="1">{source}</SourceFilename><SourceBand>1</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="{TILE}" ySize="{TILE}"/>'
        f'<DstRect xOff="{col}" yOff="{row}" xSize="{TILE}" ySize="{TILE}"/></SimpleSource>'
        for row in range(0, size, TILE)
        for col in range(0, size, TILE)
    )
    mask = folder / f"bench_{size}_{noise}.vrt"
    mask.write_text(
        f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>400000, 0.5, 0, 5000000, 0, -0.5</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1"><NoDataValue>255</NoDataValue>{band}</VRTRasterBand></VRTDataset>'
    )
    return mask


def options_table(folder: Path, sides: list[int], options: Sequence[str]) -> None:
    """Print a row for each option as soon as it is measured."""
    print("| option | " + " | ".join(f"{side:,} px" for side in sides) + " |\n|-|" + "-|" * len(sides))
    for option in options:
        cells = []
        for side in sides:
            suffix = "parquets" if option == "--partitioned" else option.partition("-f ")[2] or "gpkg"
            out = folder / f"bench.{suffix}"
            command = [*SIDES["segearth vectorize"][:-1], *option.split(), "-o"]
            _, processor, peak = measure(command, mask_of(folder, side, 0.02), out)
            cells.append(f"{processor:.1f} s, {peak:.0f} MB")
        print(f"| {f'`{option}`' if option else 'none'} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp"))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--options", action="store_true")
    parser.add_argument("--only", action="append", help="one of the options, as often as you like")
    parser.add_argument("--sides", type=int, nargs="+", default=[2500, 5000, 10_000, 20_000])
    arguments = parser.parse_args()
    if arguments.options:
        options_table(arguments.folder, arguments.sides, arguments.only or OPTIONS)
        return
    print("| mask | side | wall s | processor s | peak MB |\n|-|-|-|-|-|")
    for case, (size, noise) in CASES.items():
        mask = mask_of(arguments.folder, size, noise)
        runs: dict[str, list[tuple[float, float, float]]] = {side: [] for side in SIDES}
        for _ in range(arguments.repeat):
            for side, command in SIDES.items():
                runs[side].append(measure(command, mask, arguments.folder / "bench.gpkg"))
        for side, taken in runs.items():
            wall, processor, peak = np.min(taken, axis=0)
            print(f"| {case} | {side} | {wall:.1f} | {processor:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
