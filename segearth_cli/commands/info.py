"""`segearth info`: what is installed, what this machine has, and what would run on it."""

from __future__ import annotations

import os
import platform
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from segearth_cli.commands.flags import flags_of
from segearth_cli.commands.models import known_models
from segearth_cli.commands.results import show
from segearth_cli.console import table_width
from segearth_cli.options import build, option
from segearth_cli.progress import underway
from segearth_cli.quantities import data_size
from segearth_cli.version import __version__

LIBRARIES = (
    "torch", "open_clip_torch", "rasterio", "fiona", "pyogrio", "pyarrow", "shapely", "pyproj", "numpy", "typer", "tqdm"
)  # fmt: skip
OPTIONAL = ("llvmlite", "distributed", "obstore", "geopandas", "ipywidgets", "triton")
FORMATS = (
    "GTiff",
    "COG",
    "VRT",
    "JP2OpenJPEG",
    "netCDF",
    "HDF5",
    "PNG",
    "JPEG",
    "ENVI",
)  # of rasters, as GDAL has them
VARIABLES = (
    *("SEGEARTH_MODEL", "SEGEARTH_CACHE", "SEGEARTH_KERNELS", "SEGEARTH_PROGRESS", "SEGEARTH_UNTRUSTED"),
    *(
        "HF_HOME",
        "HF_HUB_OFFLINE",
        "OMP_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES",
        "GDAL_CACHEMAX",
        "GDAL_DATA",
        "PROJ_DATA",
    ),
)


@dataclass(frozen=True, slots=True)
class InfoOptions:
    """In which form it is told."""

    as_json: bool = option(False, "--json", help="Print one JSON object.", panel="Messages")
    """JSON on stdout in place of lines."""


@flags_of(InfoOptions, examples=("segearth info", "segearth info --json"))
def info(**given: Any) -> None:
    """Tell what is here and what would run: versions, devices, models, the cache; for reports of faults too."""
    options = build(InfoOptions, given)
    with underway("looking"):
        facts = {name: _known(find) for name, find in FACTS.items()}
    show("\n".join(_row(name, text) for name, text in _lines(facts)), facts, as_json=options.as_json)


def _row(name: str, text: str) -> str:
    """A fact for people: one line for programs such as grep, as many as it takes on a terminal."""
    head = f"{name + ':':13}"
    if not sys.stdout.isatty():
        return head + text
    return textwrap.fill(
        text, table_width(), initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _known(find: Callable[[], Any]) -> Any:
    """What is found out; of a part that is broken the error, for that is what the reader looks for."""
    try:
        return find()
    except Exception as e:
        return f"cannot be told: {type(e).__name__}: {e}"


def _lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Heading and text of each line for people."""
    return [(name, value if isinstance(value, str) else _TEXTS[name](value)) for name, value in facts.items()]


def _own() -> dict[str, str]:
    return {"version": __version__, "folder": str(Path(__file__).parents[1]), "python": platform.python_version()}


def _versions() -> dict[str, str | None]:
    return {name: _version(name) for name in (*LIBRARIES, *OPTIONAL)}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gdal() -> dict[str, Any]:
    import pyproj
    import rasterio
    import shapely

    with rasterio.Env() as env:
        drivers = set(env.drivers())
    return {
        "gdal": rasterio.__gdal_version__,
        "proj": pyproj.proj_version_str,
        "geos": shapely.geos_version_string,
        "formats": [name for name in FORMATS if name in drivers],
    }


def _machine() -> dict[str, Any]:
    from segearth_cli.prediction import usable_cores

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {"system": platform.platform(), "cores": os.cpu_count(), "usable_cores": usable_cores(), "memory": memory}


def _devices() -> list[dict[str, str]]:
    from segearth_cli.model import devices, pick_device, pick_precision

    def precision(name: str) -> str:
        return str(pick_precision("auto", pick_device(name))).removeprefix("torch.")

    return [{"name": name, "what": what, "precision": precision(name)} for name, what in devices().items()]


def _models() -> list[dict[str, Any]]:
    return [{key: row[key] for key in ("name", "kind", "path", "bytes")} for row in known_models() if row["here"]]


def _cache() -> dict[str, Any]:
    from segearth_cli.cache import cache_dir

    folder = cache_dir()
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    return {"folder": str(folder), "files": len(sizes), "bytes": sum(sizes)}


def _auto() -> dict[str, Any]:
    """What `predict` would run where nothing is asked for."""
    from segearth_cli.model import by_llvm, pick_device, pick_precision
    from segearth_cli.prediction import defaults_now
    from segearth_cli.weights import ModelOptions

    device = pick_device("auto")
    precision = str(pick_precision("auto", device)).removeprefix("torch.")
    now = {name: value for name, value in defaults_now().items() if value is not None}
    model = str(now.get("model", "none")).removeprefix("auto: ")
    asked = build(ModelOptions, {"model": model}).kernels  # by SEGEARTH_KERNELS
    kernels = "llvm" if by_llvm(asked, device) else asked.replace("auto", "torch")
    return now | {"model": model, "device": str(device), "precision": precision, "kernels": kernels}


def _variables() -> dict[str, str]:
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


FACTS: dict[str, Callable[[], Any]] = {
    "segearth": _own,
    "machine": _machine,
    "libraries": _versions,
    "gdal": _gdal,
    "devices": _devices,
    "models": _models,
    "auto": _auto,
    "cache": _cache,
    "environment": _variables,
}


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _auto_text(found: Mapping[str, Any]) -> str:
    own = ("model", "upsampler", "device", "precision", "window")
    rest = {name.replace("_", "-"): value for name, value in found.items() if name not in own}
    model = f"{found['model']} with upsampler {found.get('upsampler', 'none')}"
    where = f"on {found['device']} in {found['precision']}"
    return f"{model} {where}, windows of {found.get('window', '?')} px; {_listed(rest)}"


_TEXTS: dict[str, Callable[[Any], str]] = {
    "segearth": lambda v: f"{v['version']}, in {v['folder']}, Python {v['python']}",
    "machine": lambda v: f"{v['system']}, {v['usable_cores']} of {v['cores']} cores, {data_size(v['memory'])} memory",
    "libraries": lambda v: ", ".join(f"{name} {number or '-'}" for name, number in v.items()),
    "gdal": lambda v: f"{v['gdal']}, PROJ {v['proj']}, GEOS {v['geos']}; reads {', '.join(v['formats'])} and others",
    "devices": lambda v: "; ".join(f"{d['name']} ({d['what']}; auto precision {d['precision']})" for d in v),
    "models": lambda v: ", ".join(f"{m['name']} ({data_size(m['bytes'])})" for m in v) or "none",
    "auto": _auto_text,
    "cache": lambda v: f"{v['folder']}, {v['files']} files, {data_size(v['bytes'])}",
    "environment": lambda v: ", ".join(f"{name}={value}" for name, value in v.items()) or "nothing set",
}
