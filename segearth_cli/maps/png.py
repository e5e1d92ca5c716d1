"""A preview as a PNG: scene, mask and both over each other, side by side, with legend, scale bar and provenance."""

from __future__ import annotations

import io
import json
import math
import textwrap
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli.classes import RUN_TAG
from segearth_cli.maps.numbers import bar
from segearth_cli.maps.sheet import LegendRow, Sheet, on_white
from segearth_cli.quantities import digits, percent

_SMALLEST = 300  # pixels of the longer side of a map; smaller ones are enlarged by a whole factor
_MARGIN, _LINE, _SWATCH = 10, 20, 14  # pixels
_LONGEST_NAME = 40  # characters
_LEFT_TO_RIGHT = "\u200e"  # a mark without a width, that keeps figures in order beside Arabic and Hebrew
_LETTER = 6.3  # pixels of a letter of the legend, about
_DPI = 100
# The first that are installed stand in for letters that matplotlib's own font lacks.
_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Microsoft YaHei", "PingFang SC",
          "Noto Sans Arabic", "Noto Sans Devanagari", "Segoe UI Emoji", "Noto Emoji")  # fmt: skip


def png(sheet: Sheet) -> bytes:
    """The picture. Colours of the mask alone are those of its classes, pixel by pixel."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [_enlarged(panel) for panel in _panels(sheet)]
    height, width = panels[0].shape[:2]
    across = max(len(panels) * (width + _MARGIN) + _MARGIN, 480)
    rows = list(_legend_places(sheet.legend, across))
    below = (max(line for _, line in rows) + 1 if rows else 0) * _LINE
    told = textwrap.wrap(_told(sheet), max(40, int(across / _LETTER)))
    whole = 34 + height + 34 + below + len(told) * 16 + 2 * _MARGIN
    with rc_context({"font.family": ["DejaVu Sans", *_installed()]}):
        figure = Figure(figsize=(across / _DPI, whole / _DPI), dpi=_DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        page = _Page(figure, across, whole)
        page.text(_MARGIN, 24, _short(sheet.title), size=10, weight="bold")
        for number, panel in enumerate(panels):
            figure.figimage(panel, _MARGIN + number * (width + _MARGIN), whole - 34 - height, origin="upper")
        _scale_bar(page, sheet, width / sheet.rows.shape[1], _MARGIN, 34 + height + 10, width)
        top = 34 + height + 34
        for (left, line), row in zip(rows, sheet.legend, strict=True):
            _legend_row(page, row, left, top + line * _LINE)
        for number, sentence in enumerate(told):
            page.text(_MARGIN, top + below + _MARGIN + 10 + number * 16, sentence, size=7, color="#555")
        picture = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a letter that no font has is drawn as a box
            canvas.print_png(
                picture,  # type: ignore[no-untyped-call]
                metadata={"Software": "segearth", RUN_TAG: json.dumps(dict(sheet.facts))},
            )
    return picture.getvalue()


def _panels(sheet: Sheet) -> Iterator[NDArray[np.uint8]]:
    """Scene, mask, and the mask over the scene, (h, w, 3); the mask alone without a scene."""
    mask = sheet.colors[sheet.rows]
    alone = on_white(mask)
    if sheet.scene is None:
        yield alone
        return
    scene = on_white(sheet.scene)
    share = np.where(mask[..., 3:] > 0, sheet.opacity, 0.0)
    yield scene
    yield alone
    yield np.rint(scene * (1 - share) + mask[..., :3] * share).astype(np.uint8)


def _enlarged(panel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = max(1, math.ceil(_SMALLEST / max(panel.shape[:2])))
    return panel.repeat(factor, axis=0).repeat(factor, axis=1)


class _Page:
    """A figure that is drawn on in pixels from its upper left corner."""

    def __init__(self, figure: Any, width: float, height: float):
        self._figure, self._width, self._height = figure, width, height

    def text(self, x: float, y: float, text: str, **look: Any) -> None:
        """Text whose base line begins at x, y; a `$` is a `$`."""
        self._figure.text(x / self._width, 1 - y / self._height, text, parse_math=False, **look)

    def box(self, x: float, y: float, width: float, height: float, **look: Any) -> None:
        """A filled box."""
        from matplotlib.patches import Rectangle

        corner = x / self._width, 1 - (y + height) / self._height
        size = width / self._width, height / self._height
        self._figure.add_artist(Rectangle(corner, *size, transform=self._figure.transFigure, **look))


def _scale_bar(page: _Page, sheet: Sheet, factor: float, left: float, top: float, width: float) -> None:
    if sheet.metres is None:
        page.text(left, top + 10, "no scale: the mask has no place on the ground", size=8, color="#555")
        return
    length, text = bar(sheet.metres / factor, width / 3)
    page.box(left, top, length, 4, facecolor="black", edgecolor="black", linewidth=0.5)
    page.box(left + length / 2, top, length / 2, 4, facecolor="white", edgecolor="black", linewidth=0.5)
    page.text(left + length + 8, top + 7, text, size=8)


def _legend_places(legend: tuple[LegendRow, ...], across: float) -> Iterator[tuple[float, int]]:
    """Left edge and line of each row, in columns from top to bottom."""
    longest = max((len(_label(row)) for row in legend), default=0)
    wide = _SWATCH + 8 + longest * _LETTER + 18
    columns = min(max(1, int((across - 2 * _MARGIN) // wide)), max(1, math.ceil(len(legend) / 2)))
    lines = math.ceil(len(legend) / columns)
    for number in range(len(legend)):
        yield _MARGIN + number // lines * wide, number % lines


def _legend_row(page: _Page, row: LegendRow, left: float, top: float) -> None:
    color = tuple(part / 255 for part in row.color)
    page.box(left, top, _SWATCH, _SWATCH, facecolor=color, edgecolor="#555", linewidth=0.5)
    page.text(left + _SWATCH + 8, top + 12, _label(row, _LEFT_TO_RIGHT), size=8)


def _label(row: LegendRow, mark: str = "") -> str:
    """A row in words; mark: stands around the name."""
    return f"{mark}{_short(row.name)}{mark}  {row.area}, {percent(row.share)}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


def _told(sheet: Sheet) -> str:
    total = "" if sheet.total is None else f"{digits(sheet.total)} ha with data. "
    return total + ("" if sheet.counted else "Areas are estimated from an overview. ") + sheet.line


def _installed() -> list[str]:
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    return [name for name in _FONTS if name in known]
