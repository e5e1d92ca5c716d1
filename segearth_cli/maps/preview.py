"""The workflow of `segearth preview`: a mask, and its scene, to a picture or a page."""

from __future__ import annotations

from pathlib import Path

from segearth_cli.errors import UsageError
from segearth_cli.files import write_bytes
from segearth_cli.maps.options import SIZES, PreviewOptions
from segearth_cli.maps.page import page
from segearth_cli.maps.png import png
from segearth_cli.maps.sheet import make_sheet
from segearth_cli.raster import Scene, stem

_DRAWN = {".png": png, ".html": page}


def draw(mask: str | Path, out: Path, options: PreviewOptions | None = None, scene: Scene | str | None = None) -> Path:
    """Writes a picture or a page, by the suffix of `out`, which it returns; an old file is replaced.

    scene: open, or its path; None = the mask alone. Raises RasterError for files that cannot be read, UsageError for
    another suffix or a scene that is not the mask's.
    """
    kind = suffix_of(out)
    options = options or PreviewOptions()
    sheet = make_sheet(str(mask), scene, options, options.size or SIZES[kind.lstrip(".")])
    write_bytes(out, _DRAWN[kind](sheet))
    return out


def suffix_of(out: Path) -> str:
    """The suffix of a picture. Raises UsageError for one that is none."""
    kind = out.suffix.casefold()
    if kind not in _DRAWN:
        raise UsageError(f"{out}: a preview is a picture or a page; name it .png or .html")
    return kind


def preview_path(mask: str, out: Path | None, kind: str | None, *, several: bool) -> Path:
    """Where the preview of a mask goes: `out`, a file in it when it is a folder, else a file in the current folder.

    A mask `scene.mask.tif` gives `scene.preview.png`. Raises UsageError when one file is named for several masks, or
    with another suffix than `kind`.
    """
    name = f"{stem(mask).removesuffix('.mask')}.preview.{kind or 'png'}"
    if out is None or out.is_dir() or (several and not out.suffix):
        return (out or Path()) / name
    if several:
        raise UsageError(f"--out {out}: one file for several masks; name a folder")
    if kind and suffix_of(out) != f".{kind}":
        raise UsageError(f"--out {out}: is no name for --format {kind}")
    suffix_of(out)
    return out
