"""Whether results of damaged inputs are right: what plain GDAL, safetensors, JSON and CSV read of the same files.

Each judge is called in the folder of a trial after its command ended well, with the name of the damaged file. It gives
what is wrong, or nothing.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ADVICE = {"blend": "taper", "global_bias": 0.2, "stride": 100}


def scene(file: str) -> str:
    """The mask lies where GDAL says, has holes where GDAL says, and is that of what GDAL copies of the scene."""
    import rasterio
    import rasterio.shutil

    with quiet(), rasterio.open(file) as given, rasterio.open("out.tif") as out:
        codes = out.read(1)
        if wrong := place_differs(given, out):
            return wrong
        if given.count == 3 or given.colorinterp[-1].name == "alpha":
            holes = given.dataset_mask() == 0
            if not np.array_equal(codes == 255, holes):
                return f"{(codes == 255).sum()} px without data, GDAL has {holes.sum()}"
    try:
        rasterio.shutil.copy(file, "clean.tif", driver="GTiff", compress="none", copy_src_overviews=False)
    except Exception as e:  # of whatever kind GDAL chooses
        return f"read, though GDAL cannot copy it: {e}"
    with quiet(), rasterio.open(file) as given, rasterio.open("clean.tif") as clean:
        if given.colorinterp != clean.colorinterp or given.nodatavals != clean.nodatavals:
            return ""  # the copy cannot hold what the scene says of itself
    code = command(
        "predict", "clean.tif", "-m", "local-dir:model", "-d", "cpu", "-q", "-c", "water,road", "-o", "c.tif"
    )
    if code:
        return f"done, but its copy is refused with {code}"
    return "" if same_pixels("c.tif", codes) else "another mask than that of GDAL's copy"


def mask(_file: str) -> str:
    """Polygons cover each class's pixels, by the area on the map, and lie in the mask's CRS."""
    import fiona
    import rasterio
    import shapely

    with quiet(), rasterio.open("mask.tif") as given:
        codes, data = given.read(1), given.read_masks(1) > 0
        pixel = abs(given.transform.determinant)
        tags = json.loads(given.tags().get("SEGEARTH_CLASSES", "[]"))
        placed = given.crs
    areas: dict[int, float] = {}
    with fiona.open("out.gpkg") as layer:
        if bool(layer.crs_wkt) != bool(placed):
            return f"CRS {layer.crs_wkt[:40]} of a mask with {placed}"
        for feature in layer:
            code = int(feature["properties"]["class_id"])
            areas[code] = areas.get(code, 0.0) + shapely.area(shapely.geometry.shape(feature["geometry"]))
    for code, area in areas.items():
        wanted = float((data & (codes == code)).sum()) * pixel
        if not np.isclose(area, wanted, rtol=1e-6):
            return f"class {code} covers {area}, its pixels {wanted}"
    silent = {0, 255} | {row["code"] for row in tags if row.get("background")}
    lost = set(np.unique(codes[data]).tolist()) - set(areas) - silent
    return f"no polygons of classes {sorted(lost)}" if lost else ""


def label(_file: str) -> str:
    """The confusion matrix is that of the two arrays, where both lie on one grid."""
    import rasterio

    with quiet(), rasterio.open("label.tif") as truth, rasterio.open("mask.tif") as ours:
        if place_differs(truth, ours):
            return ""  # warped, which is not judged here
        codes, found = truth.read(1), ours.read(1)
    counts = json.loads(Path("out.json").read_text())["confusion"]["counts"]
    wanted = [[int(((codes == i) & (found == j)).sum()) for j in range(3)] for i in range(3)]
    return "" if [row[:3] for row in counts] == wanted else f"counts {counts}, wanted {wanted}"


def drawn_label(file: str) -> str:
    """The confusion matrix is that of the polygons that hold a pixel's middle, where they are in the mask's CRS."""
    import rasterio

    with quiet(), rasterio.open("mask.tif") as ours:
        found, claimed = ours.read(1), [held(file, ours, word) for word in ("background", "water", "road")]
    if any(one is None for one in claimed):
        return ""  # in another CRS, which is not judged here
    alone = np.sum(claimed, axis=0) == 1
    wanted = [[int((alone & one & (found == j)).sum()) for j in range(3)] for one in claimed]
    counts = json.loads(Path("out.json").read_text())["confusion"]["counts"]
    return "" if [row[:3] for row in counts] == wanted else f"counts {counts}, wanted {wanted}"


def held(file: str, raster: Any, word: str = "", margin: int = 0) -> Any:
    """Which pixels (H, W) have their middle in a polygon of a file, of a class; None where it is of another CRS.

    margin: pixels by which polygons are made larger before.
    """
    import fiona
    import shapely

    inside = np.zeros(raster.shape, bool)
    cols, rows = np.meshgrid(np.arange(raster.width) + 0.5, np.arange(raster.height) + 0.5)
    x, y = raster.transform * (cols, rows)
    with fiona.open(file) as layer:
        if not layer.crs_wkt or fiona.crs.CRS.from_wkt(layer.crs_wkt) != fiona.crs.CRS.from_wkt(raster.crs.to_wkt()):
            return None
        for feature in layer:
            if feature["geometry"] is not None and (not word or _word(feature) == word):
                shape = shapely.make_valid(
                    shapely.geometry.shape(feature["geometry"])
                )  # as GDAL fills what crosses itself
                inside |= shapely.contains_xy(shape.buffer(margin * raster.transform.a) if margin else shape, x, y)
    return inside


def _word(feature: Any) -> str:
    """What a feature says in its field of classes."""
    return (feature["properties"].get("class") or "").strip()


def area(file: str) -> str:
    """The mask has data where the area's polygons are, up to a pixel at their edges."""
    import rasterio

    with quiet(), rasterio.open("out.tif") as out:
        data, inner, outer = out.read(1) != 255, held(file, out, margin=-2), held(file, out, margin=2)
    if inner is None:
        return ""
    wrong = (data & ~outer) | (~data & inner)
    return f"{wrong.sum()} px on the wrong side" if wrong.any() else ""


def calibration(_file: str) -> str:
    """The mask is that of the sound calibration."""
    import rasterio

    with rasterio.open("out.tif") as out:
        return "" if same_pixels("calibrated.tif", out.read(1)) else "another mask"


def same(_file: str) -> str:
    """The joined mask is that of the sound run."""
    import rasterio

    with rasterio.open("mask.tif") as whole, rasterio.open("out.tif") as out:
        return place_differs(whole, out) or ("" if same_pixels("mask.tif", out.read(1)) else "another mask")


def config(file: str) -> str:
    """A model whose configuration means the same gives the same mask; of others the mask has at least its size."""
    import rasterio

    with rasterio.open("scene.tif") as given, rasterio.open("out.tif") as out:
        codes = out.read(1)
        if wrong := place_differs(given, out):
            return wrong
    sound = json.loads((Path(__file__).parents[1] / "tests/parity/sliding" / file).read_text())
    if json.loads(Path(file).read_text()) == sound and not same_pixels("plain.tif", codes):
        return "another mask by the same configuration"
    return ""


def weights(file: str) -> str:
    """What safetensors read is finite, and the mask's tag names this file by its hash."""
    return tensors_told(file, "model_sha256")


def upsampler(file: str) -> str:
    """The same of an upsampler."""
    return tensors_told(file, "upsampler_sha256")


def tensors_told(file: str, key: str) -> str:
    """What is wrong with a mask that was made with a file of tensors, whose hash its tag has under `key`."""
    from safetensors.numpy import load_file

    if not all(np.isfinite(value).all() for value in load_file(file).values()):
        return "weights that are not finite"
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return "" if run_tag("out.tif")[key] == digest else "the tag names other weights"


def advice(file: str) -> str:
    """The tag of the mask says the values that the file gives."""
    given, told = json.loads(Path(file).read_text()), run_tag("out.tif")
    for name, value in given.items():
        if name in told and told[name] != value and not math.isclose(told[name], value):
            return f"{name} is {told[name]}, the file says {value}"
    if given == ADVICE:
        import rasterio

        with rasterio.open("out.tif") as out:
            return "" if same_pixels("plain.tif", out.read(1)) else "another mask by the same advice"
    return ""


def classes(file: str) -> str:
    """The mask's classes have the phrases that stand in the lines of the file."""
    import rasterio

    wanted = []
    for line in Path(file).read_bytes().decode("utf-8-sig").splitlines():
        phrases = [" ".join(part.split()) for part in line.partition("#")[0].split(",")]
        if any(phrases):
            wanted.append([phrase for phrase in phrases if phrase])
    with rasterio.open("out.tif") as out:
        rows = json.loads(out.tags()["SEGEARTH_CLASSES"])
    if not any(phrases[0] == "background" for phrases in wanted):
        rows = [row for row in rows if not (row.get("background") and row["name"] == "background")]  # predict's own
    found = [row["phrases"] for row in rows]
    return "" if found == wanted else f"classes {found}, the file says {wanted}"


def manifest(file: str) -> str:
    """Every scene of the list is told to be done, and each mask that the list names is there."""
    lines = Path(file).read_bytes().decode("utf-8-sig").splitlines()
    head = next(line for line in lines if line.strip())
    cells = [cell.strip().lower() for cell in re.split("[,;\t]", head)]
    if "scene" in cells:
        rows = list(csv.DictReader(lines, skipinitialspace=True, delimiter=max(",;\t", key=head.count)))
        rows = [{(key or "").strip().lower(): value for key, value in row.items()} for row in rows]
        wanted = [(row["scene"] or "").strip() for row in rows]
        masks = [(row.get("out") or "").strip() for row in rows]
    else:
        wanted = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
        masks = [""] * len(wanted)
    table = list(csv.DictReader(Path("table.csv").read_text().splitlines()))
    if [row["scene"] for row in table] != wanted or {row["state"] for row in table} != {"done"}:
        return f"table {table}, the list says {wanted}"
    for row, mask_name in zip(table, masks, strict=True):
        if (mask_name and row["mask"] != mask_name) or not Path(row["mask"]).is_file():
            return f"no mask {mask_name or row['mask']}"
    return ""


def checkpoint(_file: str) -> str:
    """A run that goes on ends with the same weights as from the sound checkpoint."""
    from safetensors.numpy import load_file

    ours, wanted = load_file("u.safetensors"), load_file("trained.safetensors")
    if ours.keys() != wanted.keys() or any(not np.array_equal(ours[name], wanted[name]) for name in wanted):
        return "other weights than from the sound checkpoint"
    return ""


def recipe(file: str) -> str:
    """The upsampler's metadata say the values of the settings file."""
    from safetensors import safe_open

    given = tomllib.loads(Path(file).read_bytes().decode())
    with safe_open("r.safetensors", "np") as stored:
        told = json.loads(stored.metadata()["recipe"])
    for name, value in given.items():
        if told[name.replace("-", "_")] != value:
            return f"{name} is {told[name.replace('-', '_')]}, the file says {value}"
    return ""


def quiet() -> Any:
    """No warnings of rasterio."""
    return warnings.catch_warnings(action="ignore") if sys.version_info >= (3, 11) else warnings.catch_warnings()


def place_differs(one: Any, other: Any) -> str:
    """How two rasters differ in size and place; empty when they do not."""
    if one.shape != other.shape:
        return f"{other.shape} of {one.shape}"
    if one.crs != other.crs:
        return f"CRS {other.crs} of {one.crs}"
    return "" if one.transform == other.transform else f"transform {other.transform[:6]} of {one.transform[:6]}"


def same_pixels(name: str, codes: Any) -> bool:
    """Whether a mask holds these codes."""
    import rasterio

    with quiet(), rasterio.open(name) as wanted:
        return bool(np.array_equal(wanted.read(1), codes))


def run_tag(name: str) -> dict[str, Any]:
    """How a mask says that it was made."""
    import rasterio

    with quiet(), rasterio.open(name) as out:
        found: dict[str, Any] = json.loads(out.tags()["SEGEARTH_RUN"])
    return found


def command(*arguments: str) -> int:
    """Exit code of a command in this process, which is a judge's own."""
    from segearth_cli import cli

    sys.argv = ["segearth", *arguments]
    return cli.run()
