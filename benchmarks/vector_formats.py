"""Processor seconds that each vector format takes for the polygons of a mask.

    python benchmarks/vector_formats.py MASK [--repeat 3] [--times 1] [--folder /tmp]

The polygons are traced once and written again and again, in one process; the table has the least of the repeats. Run it
in two checkouts for a pair. --times: the polygons are appended so many times, to see what is held.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import pyarrow.parquet as pq
import pyproj
import shapely

from segearth_cli.vector import VectorizeOptions, vectorize
from segearth_cli.vector.features import FeatureBatch, VectorLayer
from segearth_cli.vector.layers import writing

FIELDS = ("class_id", "class", "area_m2", "perimeter_m")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mask", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("/tmp"))
    parser.add_argument("--formats", nargs="+", default=["gpkg", "fgb", "shp", "geojson", "parquet"])
    arguments = parser.parse_args()
    traced = arguments.folder / "traced.parquet"
    vectorize(arguments.mask, traced, VectorizeOptions(quiet=True))
    table = pq.read_table(traced)
    geometry = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in FIELDS}
    features = FeatureBatch(geometry, columns)
    crs = "EPSG:32633"
    print(f"{len(geometry) * arguments.times} polygons\n| format | processor s | peak MB so far |\n|-|-|-|")
    for suffix in arguments.formats:
        layer = VectorLayer("bench", pyproj.CRS(crs).to_wkt(), "Polygon", FIELDS, {}, 0.5)
        taken = []
        for _ in range(arguments.repeat):
            before = time.process_time()
            with writing(arguments.folder / f"bench.{suffix}", layer) as write:
                for _ in range(arguments.times):
                    write(features)
            taken.append(time.process_time() - before)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"| {suffix} | {min(taken):.2f} | {peak} |", flush=True)


if __name__ == "__main__":
    main()
