"""Masks as pictures for people: beside and over their scene, with a legend, a scale bar and the area of each class.

A PNG, or a page of HTML that needs no network. What is shown is read from overviews; areas are those on the ground.
Knows no model; reads masks and scenes as rasters and prints nothing.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.maps.axes import draw_in
    from segearth_cli.maps.options import Kind, PreviewOptions
    from segearth_cli.maps.preview import draw, preview_path
    from segearth_cli.maps.sheet import make_sheet, scene_name

__all__ = ["Kind", "PreviewOptions", "draw", "draw_in", "make_sheet", "preview_path", "scene_name"]

__getattr__ = lazy_face(
    __name__,
    {
        "axes": "draw_in",
        "preview": "draw preview_path",
        "options": "Kind PreviewOptions",
        "sheet": "make_sheet scene_name",
    },
)
