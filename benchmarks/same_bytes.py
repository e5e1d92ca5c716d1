"""Whether a change of the code changes what users get: hashes of every file that a fixed list of commands writes.

    python -m benchmarks.same_bytes --write before.json     # on the commit before
    python -m benchmarks.same_bytes --against before.json   # on the commit after; exit code 1 names what differs

Rasters are hashed as bytes; vector layers as names, fields and WKB of their features in order, because GeoPackage
stamps the time; weights as tensors in the order of their names. Scenes of `../shared` take part where they are there.
Hashes of two machines may differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("SEGEARTH_SHARED", ROOT.parent / "shared"))
TILES = ROOT / "sample_tiles"
VECTORS = (".gpkg", ".geojson", ".fgb", ".shp", ".parquet")
LAND = "water|river,building,forest,road,bare soil"


def commands() -> list[str]:
    """The commands in order; later ones read what earlier ones wrote. `{tiles}` and `{shared}` stand for folders."""
    parity = (
        "-m local-dir:{shared}/parity/NAME/model --upsampler {shared}/parity/NAME/upsampler.safetensors"
        " --classes-file {shared}/parity/NAME/classes.txt --precision fp32"
    )
    listed = [
        f'predict {{tiles}}/neon_osbs_01m.tif -c "{LAND}" -o neon.tif --confidence neon.c.tif --scores neon.s.tif',
        f'predict {{tiles}}/bahamas_landsat.tif -c "{LAND}" --upsampler none -o bahamas.tif -t 0.3 --vector b.gpkg',
        f'predict {{tiles}}/geographic.tif -c "{LAND}" -o geographic.tif --gsd 1 --precision fp32',
        f'predict {{tiles}}/nodata.tif -c "{LAND}" --background none -o nodata.tif --upsampler none',
        f'predict {{tiles}}/uint16.tif -c "{LAND}" --bands 3,2,1 -o uint16.tif --upsampler none --stretch P1,P99',
        f'predict {{tiles}}/utm.tif -c "{LAND}" -o utm.tif --scale 0.5 --attention clearclip --blend mean',
        "predict {tiles}/neon_osbs_01m.tif --preset loveda -o loveda.tif --upsampler none",
    ]
    for name in ("crop_only", "sliding"):
        model = parity.replace("NAME", name)
        scene = f"{{shared}}/parity/{name}/image.tif"
        listed += [
            f"predict {scene} {model} -o {name}.tif --scores {name}.s.tif",
            f"predict {scene} {model} -o {name}.b3.tif --batch-size 3 --workers 1",
            f"predict {scene} {model} -o {name}.v.tif --attention vanilla --global-bias 0 --window 112 --stride 64",
        ]
    model = parity.replace("NAME", "sliding")
    sharded = f"predict {{shared}}/scenes/aerial_rgb_05m_koeln.tif {model} --upsampler none --window 224 --stride 112"
    listed += [
        f"{sharded} -o whole.tif --confidence whole.c.tif",
        f"{sharded} -o shards.tif --confidence shards.c.tif --work run --shard-size 512",
        f"{sharded} --work shares --shard-size 512 --shard-index 1 --shard-count 2",
        f"{sharded} --work shares --shard-size 512 --shard-index 0 --shard-count 2",
        "merge shares -o merged.tif",
        "merge shares -o merged.cog.tif --format cog",
        f'predict {{shared}}/scenes/aerial_rgb_05m_koeln.tif -c "{LAND}" -o koeln.tif --upsampler none --long-side 700',
    ]
    listed += [f"vectorize whole.tif -o plain{suffix}" for suffix in VECTORS]
    listed += [
        "vectorize whole.tif -o clean.gpkg --min-area 200px --fill-holes 50m2",
        "vectorize whole.tif -o simple.fgb --simplify 1px --confidence whole.c.tif",
        "vectorize whole.tif -o smooth.geojson --smooth --connectivity 8",
        "vectorize whole.tif -o right.gpkg --regularize --min-area 100px",
        "vectorize whole.tif -o dissolved.geojson --dissolve --simplify 2m",
        "vectorize shares -o shares.gpkg",
        "vectorize neon.tif -o neon.gpkg --classes forest,building",
        "evaluate {shared}/labelled/dubai/mask {shared}/labelled/dubai/mask "
        "--classes-file {shared}/labelled/dubai/classes.txt --json scores.json --csv scores.csv",
        "train-upsampler {tiles}/neon_osbs_01m.tif {tiles}/utm.tif -m local-dir:{shared}/parity/crop_only/model"
        " --steps 2 --batch-size 1 --jitters 1 --held-out 1 --workers 1 --precision fp32 -d cpu -o up.safetensors",
    ]
    return listed


def run(folder: Path) -> dict[str, str]:
    """Runs all commands in a folder; a hash for each file, and the exit code of each command."""
    found: dict[str, str] = {}
    environment = os.environ | {"SEGEARTH_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    for number, line in enumerate(commands()):
        if "{shared}" in line and not SHARED.is_dir():
            continue
        text = line.replace("{tiles}", str(TILES)).replace("{shared}", str(SHARED))
        done = subprocess.run(
            [sys.executable, "-m", "segearth_cli", *shlex.split(text)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        found[f"exit code of {number}: {line}"] = str(done.returncode)
        print(
            f"{number}: {line.split()[0]} -> {done.returncode} {done.stderr.strip()[-200:] if done.returncode else ''}"
        )
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        skipped = name.startswith("cache/") or (path.suffix in (".png", ".jsonl", ".log", ".csv") and "train" in name)
        if path.is_file() and not skipped and "/shards/" not in name and path.suffix not in (".dbf", ".shx", ".pt"):
            found[name] = _digest(path)
    return found


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    if path.suffix in (".gpkg", ".fgb", ".shp"):
        import fiona
        from shapely.geometry import shape

        with fiona.open(path) as layer:
            digest.update(repr((layer.schema, layer.crs_wkt)).encode())
            for feature in layer:
                digest.update(repr(sorted(dict(feature.properties).items())).encode())
                digest.update(shape(feature.geometry).wkb)
    elif path.suffix == ".parquet":
        from pyarrow import parquet

        digest.update(repr(parquet.read_table(path).to_pydict()).encode())
    elif path.suffix == ".safetensors":  # whose header has no order of its own
        from safetensors import safe_open

        with safe_open(path, "np") as f:
            digest.update(repr(sorted((f.metadata() or {}).items())).encode())
            for name in sorted(f.keys()):
                digest.update(name.encode() + f.get_tensor(name).tobytes())
    elif path.name == "run.json":
        document = json.loads(path.read_text())
        document.get("scene", {}).pop("modified", None)
        document.pop("run", None)
        digest.update(json.dumps(document, sort_keys=True).encode())
    else:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> int:
    """The exit code: 1 where hashes differ from those given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="write the hashes here")
    parser.add_argument("--against", type=Path, help="compare with hashes written before")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave the outputs there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.keep or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        found = run(folder)
    if options.write:
        options.write.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    if not options.against:
        return 0
    before = json.loads(options.against.read_text())
    differing = [name for name in sorted({*before, *found}) if before.get(name) != found.get(name)]
    for name in differing:
        print(f"differs: {name}: {before.get(name, 'absent')} before, {found.get(name, 'absent')} now")
    print(f"{len(found) - len(differing)} of {len({*before, *found})} are the same")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
