"""The workflow of `segearth preview`: a mask, and its scene, to a picture or a page."""

from __future__ import annotations

from pathlib import Path

from segearth_cli.errors import UsageError
from segearth_cli.files import write_bytes
from segearth_cli.maps.options import SIZES, PreviewOptions
from segearth_cli.maps.page import page
from segearth_cli.maps.png import png
from segearth_cli.maps.sheet import make_sheet
from segearth_cli.raster import Scene, made_of

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
    """Where the preview of a mask goes (`made_of`): `scene.preview.png` where `out` names no file.

    Raises UsageError when one file is named for several masks, or with another suffix than `kind`.
    """
    path = made_of(mask, out, f".preview.{kind or 'png'}", several=several)
    if kind and suffix_of(path) != f".{kind}":
        raise UsageError(f"--out {path}: is no name for --format {kind}")
    suffix_of(path)
    return path
