"""A preview as a page in one file without network: mask over or beside its scene, zoom, classes on and off."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from html import escape
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from segearth_cli.maps.sheet import LegendRow, Sheet, on_white
from segearth_cli.quantities import digits, percent
from segearth_cli.styles import hexadecimal

_QUALITY = 88  # of the JPEG that the scene is


def page(sheet: Sheet) -> bytes:
    """The page. Names stand in it as text, and its own script alone may run, which reaches no network."""
    parts = files("segearth_cli.maps")
    script, style = ((parts / f"page.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    told = {
        "TITLE": escape(sheet.title),
        "POLICY": f"default-src 'none'; img-src data:; script-src '{_hash(script)}'; style-src '{_hash(style)}'",
        "STYLE": style,
        "SCRIPT": script,
        "DATA": _inert(_data(sheet)),
        "KIND": "with-scene" if sheet.scene is not None else "mask-alone",
        "LEGEND": "\n".join(_row(number, row) for number, row in enumerate(sheet.legend, start=1)),
        "TOTAL": escape(_total(sheet)),
        "FACTS": "\n".join(f"<tr><th>{escape(key)}</th><td>{escape(text)}</td></tr>" for key, text in sheet.facts),
        "LINE": escape(sheet.line),
        "OPACITY": f"{sheet.opacity:g}",
    }
    pieces = (parts / "page.html").read_text(encoding="utf-8").split("@@")  # text and names in turn
    return "".join(told[piece] if i % 2 else piece for i, piece in enumerate(pieces)).encode()


def runs(rows: NDArray[np.int64]) -> bytes:
    """Numbers (h, w), row by row, as runs: number and length of each as LEB128, seven bits a byte.

    >>> runs(np.array([[3, 3], [3, 200]])).hex()
    '0303c80101'
    """
    flat = rows.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[0] - 1))
    lengths = np.diff(starts, append=len(flat))
    pairs = np.stack([flat[starts], lengths], axis=1).ravel().astype(np.uint64)
    digits = np.stack([(pairs >> np.uint64(shift)) & np.uint64(127) for shift in range(0, 35, 7)], axis=1)
    more = np.cumsum(digits[:, ::-1] > 0, axis=1)[:, ::-1] > 0  # whether this or a higher digit counts
    more[:, 0] = True
    follows = np.concatenate([more[:, 1:], np.zeros((len(pairs), 1), bool)], axis=1)
    return bytes((digits + 128 * follows).astype(np.uint8)[more])


def _data(sheet: Sheet) -> dict[str, object]:
    return {
        "width": sheet.rows.shape[1],
        "height": sheet.rows.shape[0],
        "metres": sheet.metres,
        "colors": sheet.colors.tolist(),
        "runs": base64.b64encode(runs(sheet.rows)).decode(),
        "scene": None if sheet.scene is None else f"data:image/jpeg;base64,{_jpeg(sheet.scene)}",
    }


def _inert(value: object) -> str:
    """JSON that ends no element of HTML."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _jpeg(rgba: NDArray[np.uint8]) -> str:
    from matplotlib.image import imsave

    written = io.BytesIO()
    imsave(written, on_white(rgba), format="jpeg", pil_kwargs={"quality": _QUALITY})
    return base64.b64encode(written.getvalue()).decode()


def _row(number: int, row: LegendRow) -> str:
    return (
        f'<tr><td><label><input type="checkbox" checked data-row="{number}">'
        f'<svg width="14" height="14"><rect width="14" height="14" fill="{hexadecimal(row.color)}"/></svg> '
        f"<span>{escape(row.name)}</span></label></td><td>{row.area}</td><td>{percent(row.share)}</td></tr>"
    )


def _total(sheet: Sheet) -> str:
    told = "" if sheet.total is None else f"{digits(sheet.total)} ha with data"
    return told + ("" if sheet.counted else "; areas are estimated from an overview")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
