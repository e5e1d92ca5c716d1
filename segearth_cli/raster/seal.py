"""Whether a scene is still what it was: how its files looked before it was read, compared when it has been read."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from segearth_cli.console import without_secrets
from segearth_cli.errors import SceneChangedError
from segearth_cli.quantities import moment
from segearth_cli.raster.datasets import opened_dataset
from segearth_cli.raster.fingerprint import pixel_fingerprint, sources_of
from segearth_cli.raster.paths import ARCHIVES
from segearth_cli.raster.remote import forget, is_remote
from segearth_cli.raster.scene import Scene
from segearth_cli.raster.server import server_says

MOST_ASKED = 256  # servers' files that are asked for; of a mosaic of more, samples of pixels tell the rest
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class FileState:
    """How a file looked."""

    size: int
    """Bytes."""
    modified: int
    """Time of change, in nanoseconds since 1970."""
    inode: int
    """Which file has the name: another one after it was replaced."""


@dataclass(frozen=True, slots=True)
class Seal:
    """What a scene was read from, as it looked at first."""

    files: Mapping[Path, FileState | None]
    """Every file of this machine: side files, sources of VRTs in VRTs, the archive a scene lies in. None = absent."""
    elsewhere: bool
    """Whether pixels come from elsewhere too, mostly over the network."""
    servers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What servers said of files: ETag, Last-Modified, bytes, as far as they did."""
    pixels: str = ""
    """Of a scene from elsewhere, the SHA-256 of samples of its pixels."""

    def with_pixels(self, scene: Scene) -> Seal:
        """The seal with samples of pixels of the scene, now that it is open, where there is need of them."""
        return replace(self, pixels=pixel_fingerprint(scene)) if self.elsewhere else self

    def changes(self) -> list[str]:
        """What is no longer the same, a phrase for each file."""
        states = [(path, then, _state(path)) for path, then in self.files.items()]
        here = [f"{path.name}: {_change(then, now)}" for path, then, now in states if then != now]
        found = _asked(self.servers)
        there = [
            f"{PurePath(without_secrets(name)).name}: {key} {then[key]} before, {found[name][key]} now"
            for name, then in self.servers.items()
            for key in then
            if found[name].get(key, then[key]) != then[key]
        ]
        return here + there


def take_seal(path: str) -> Seal:
    """The seal of a scene that is about to be read; GDAL's own statistics do not count.

    Raises RasterError when the scene cannot be opened.
    """
    before = states_before(path)
    with opened_dataset(path) as ds:
        return seal_of(path, ds, before)


def states_before(path: str) -> dict[Path, FileState | None]:
    """How the file of a scene looks that is about to be opened."""
    place = _on_disk(path)
    return {} if place is None else {place: _state(place)}


def seal_of(path: str, dataset: Any, before: Mapping[Path, FileState | None]) -> Seal:
    """The seal of a scene that is open and not read yet; before: `states_before` it was opened."""
    places = {name: _on_disk(name) for name in sources_of(path, dataset) if not name.endswith(".aux.xml")}
    files = {place: _state(place) for place in places.values() if place is not None and place not in before}
    files |= {place: state for place, state in before.items() if place in places.values()}
    far = [name for name, place in places.items() if place is None and is_remote(name)]
    return Seal(files, None in places.values() or not places, _asked(far[:MOST_ASKED]))


def check_still(path: str, sealed: Seal) -> None:
    """Raises SceneChangedError that tells what differs when a mask or label has changed since it was sealed."""
    if changes := sealed.changes():
        raise _changed(path, changes)


def check_unchanged(scene: Scene, sealed: Seal) -> None:
    """Raises SceneChangedError that tells what differs when a scene has changed since it was sealed."""
    changes = sealed.changes()
    if sealed.elsewhere and not changes:
        forget(scene.path)
        again = replace(scene, _local=threading.local())
        try:
            changes = [] if pixel_fingerprint(again) == sealed.pixels else ["other pixels"]
        finally:
            again.close()
    if changes:
        raise _changed(scene.path, changes)


def _changed(path: str, changes: list[str]) -> SceneChangedError:
    return SceneChangedError(
        f"{path}: changed while it was read ({'; '.join(changes)}); nothing was written of it, "
        "run again when nothing writes to it"
    )


def _asked(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """What servers say of files, by name."""
    known = list(names)
    if not known:
        return {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(known, pool.map(server_says, known), strict=True))


def _on_disk(name: str) -> Path | None:
    """The file that has a name of GDAL's: itself, or the archive it lies in; None for what is no file here."""
    while name.startswith(ARCHIVES):
        name = name[1:].partition("/")[2]
    if name.startswith("/vsi"):  # over the network, or in memory
        return None
    place = Path(name)
    return next((path for path in (place, *place.parents) if path.is_file()), None)


def _state(path: Path) -> FileState | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return FileState(seen.st_size, seen.st_mtime_ns, seen.st_ino)


def _change(then: FileState | None, now: FileState | None) -> str:
    """The first thing that tells two states of a file apart."""
    if then is None or now is None:
        return "gone" if now is None else "new"
    if then.size != now.size:
        return f"{then.size} bytes before, {now.size} now"
    if then.inode != now.inode:
        return "another file has its name now"
    return f"of {moment(then.modified)} before, of {moment(now.modified)} now"
