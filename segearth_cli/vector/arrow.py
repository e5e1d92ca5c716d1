"""Features as Arrow's columns, and what takes them as such: GDAL's writers by pyogrio, GeoParquet by pyarrow."""

from __future__ import annotations

import json
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Full, Queue
from typing import Any

import numpy as np
import pyproj

from segearth_cli.disk import refusal, temporary_folder
from segearth_cli.vector.features import FIELDS, FeatureBatch, VectorLayer, Write

GEOMETRY, PARQUET = "geometry", ".parquet"
_ROOM = 1 << 25  # bytes that must be free for a batch
_WAIT = 0.1  # seconds between two looks at whether a file is still being written
_SPLIT = re.compile(r"[;!\\\x00-\x1f\x7f]")  # where pyogrio and GDAL cut a path, or what they drop of it


def _schema(layer: VectorLayer, names: Mapping[str, str], metadata: Mapping[str, str] | None = None) -> Any:
    import pyarrow as pa

    types = {"int": pa.int64(), "str": pa.string(), "float": pa.float64()}
    fields = [(names.get(name, name), types[FIELDS[name]]) for name in layer.fields]
    return pa.schema([*fields, (GEOMETRY, pa.binary())], metadata=metadata)


def _columns(features: FeatureBatch, layer: VectorLayer, schema: Any) -> list[Any]:
    import pyarrow as pa

    values = [features.columns[name] for name in layer.fields]
    return [pa.array(of, kind) for of, kind in zip([*values, features.wkb()], schema.types, strict=True)]


@contextmanager
def parquet(path: Path, layer: VectorLayer) -> Iterator[Write]:
    """GeoParquet 1.1: WKB, one row group a batch."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = {
        "encoding": "WKB",
        "geometry_types": [layer.geometry],
        "orientation": "counterclockwise",
        "crs": pyproj.CRS.from_wkt(layer.crs).to_json_dict() if layer.crs else None,
    }
    geo = {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
    schema = _schema(layer, {}, {"geo": json.dumps(geo), **layer.tags})
    with pq.ParquetWriter(path.absolute(), schema, compression="zstd") as writer:  # relative, a:b/c were a URL

        def write(features: FeatureBatch) -> None:
            if len(features):
                writer.write_table(pa.table(_columns(features, layer, schema), schema=schema))

        yield write


def from_parquet(
    path: Path, choose: Callable[[Sequence[str]], str | None]
) -> tuple[str | None, list[tuple[bytes | None, Any]], str | None]:
    """The inverse of `parquet`: the column that is chosen of others, rows of WKB and what it says, and the CRS as WKT.

    Raises OSError, RuntimeError or ValueError for what is no GeoParquet of WKB.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path.absolute()) as file:
        try:
            geo = json.loads(file.schema_arrow.metadata[b"geo"])
            name = geo["primary_column"]
            about = geo["columns"][name]
            encoding, crs = about["encoding"], about.get("crs", "OGC:CRS84")
        except (KeyError, TypeError, AttributeError):
            raise ValueError("no GeoParquet: no column of geometries is told") from None
        if encoding != "WKB":
            raise ValueError(f"GeoParquet with geometries as {encoding}; need WKB")
        column = choose([each for each in file.schema_arrow.names if each != name])
        table = file.read([name, *([column] if column else [])])
    shapes = table[name].to_pylist()
    values = table[column].to_pylist() if column else [None] * len(shapes)
    wkt = None if crs is None else pyproj.CRS.from_user_input(crs).to_wkt()
    return column, list(zip(shapes, values, strict=True)), wkt


def _pyogrio() -> Any:
    """Pyogrio, whose GDAL says nothing on stderr: what it has to say comes as exceptions."""
    import pyogrio

    pyogrio.set_gdal_config_options({"CPL_LOG": os.devnull})
    return pyogrio


def _ask_for_room() -> None:
    """Raises MemoryError where the system refuses memory: Arrow and GDAL, told so, end the process."""
    np.empty(_ROOM, np.uint8)


@contextmanager
def _as_told(path: Path) -> Iterator[str]:
    """The name of a file for pyogrio, which takes paths for URLs: absolute, by way of a link where it would be cut.

    path: a temporary name, which is plain itself.
    """
    whole = path.absolute()
    if not _SPLIT.search(str(whole)):
        yield str(whole)
        return
    with temporary_folder() as folder:
        link = folder / "here"
        link.symlink_to(whole.parent)
        yield str(link / whole.name)


@contextmanager
def by_gdal(
    path: Path, layer: VectorLayer, driver: str, names: Mapping[str, str] | None = None, **options: Any
) -> Iterator[Write]:
    """A function that appends features to a new file, which a driver of GDAL writes in a thread of its own.

    names: of fields, where the format has others. options: of pyogrio. Raises OSError when the file cannot be written.
    """
    _ask_for_room()
    with _as_told(path) as name, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")
        warnings.filterwarnings("ignore", module="pyogrio")
        writer = _Writer(name, layer, _schema(layer, names or {}), {"driver": driver, **options})
        try:
            yield writer.write
        except BaseException:
            writer.abandon()
            raise
        finally:
            writer.end()
    writer.check()
    if refused := refusal(path):
        raise refused


class _Writer:
    """A thread in which GDAL writes a file of the batches that it is given, one of which waits for it."""

    def __init__(self, name: str, layer: VectorLayer, schema: Any, options: Mapping[str, Any]) -> None:
        self._layer, self._schema = layer, schema
        self._queue: Queue[FeatureBatch | None] = Queue(1)
        self._failure: BaseException | None = None
        self._abandoned, self._ended = threading.Event(), threading.Event()
        form = {"geometry_name": GEOMETRY, "geometry_type": layer.geometry, "encoding": "UTF-8", **options}
        self._thread = threading.Thread(target=self._work, args=(_pyogrio(), name, form), daemon=True)
        self._thread.start()

    def write(self, features: FeatureBatch) -> None:
        """Appends features. Raises OSError where GDAL has failed, MemoryError."""
        if len(features):
            _ask_for_room()
            self._put(features)
            self.check()

    def check(self) -> None:
        """Raises OSError where GDAL has failed."""
        if self._failure is not None:
            raise OSError(" ".join(str(self._failure).split())) from self._failure

    def abandon(self) -> None:
        """Has GDAL give the file up at its end."""
        self._abandoned.set()

    def end(self) -> None:
        """Waits until GDAL has written all that was given."""
        self._put(None)
        self._thread.join()

    def _put(self, features: FeatureBatch | None) -> None:
        while not self._ended.is_set():
            with suppress(Full):
                self._queue.put(features, timeout=_WAIT)
                break

    def _work(self, pyogrio: Any, name: str, form: Mapping[str, Any]) -> None:
        import pyarrow as pa

        reader = pa.RecordBatchReader.from_batches(self._schema, self._batches())
        try:
            pyogrio.raw.write_arrow(reader, name, layer=self._layer.name, crs=self._layer.crs, **form)
        except BaseException as e:
            self._failure = e
        finally:
            self._ended.set()

    def _batches(self) -> Iterator[Any]:
        import pyarrow as pa

        while (features := self._queue.get()) is not None:
            yield pa.record_batch(_columns(features, self._layer, self._schema), schema=self._schema)
        if self._abandoned.is_set():
            raise InterruptedError


def holds_feature(path: Path, number: int) -> bool:
    """Whether a file holds a feature, counted from 0, with its geometry."""
    pyogrio = _pyogrio()
    try:
        with _as_told(path) as name:
            _, _, geometry, _ = pyogrio.raw.read(name, skip_features=number, max_features=1)
    except (RuntimeError, ValueError):
        return False
    return len(geometry) == 1 and geometry[0] is not None
