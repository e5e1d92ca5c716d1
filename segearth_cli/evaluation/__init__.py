"""Masks against labels: which belongs to which, brought to one grid, counted and reported.

Counts add up over any number of files; scores are read from the sums.
Knows no model; reads masks, and labels as rasters or features, and prints nothing.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.evaluation.codes import LabelCodes, check_label, code_text, codes_of, nodata_code, read_label
    from segearth_cli.evaluation.comparison import EvaluateOptions, Tally, Tiling, compare, counted
    from segearth_cli.evaluation.confusion import Confusion, empty
    from segearth_cli.evaluation.drawn_labels import ENDINGS, class_code, is_drawn
    from segearth_cli.evaluation.labels import fitting, label_codes
    from segearth_cli.evaluation.options import LabelOptions
    from segearth_cli.evaluation.pairing import Pairing, pair
    from segearth_cli.evaluation.report import (
        as_csv,
        audit,
        figures,
        label_figures,
        published_figure,
        tables,
        write_png,
    )

__all__ = [
    "ENDINGS",
    "Confusion",
    "EvaluateOptions",
    "LabelCodes",
    "LabelOptions",
    "Pairing",
    "Tally",
    "Tiling",
    "as_csv",
    "audit",
    "check_label",
    "class_code",
    "code_text",
    "codes_of",
    "compare",
    "counted",
    "empty",
    "figures",
    "fitting",
    "is_drawn",
    "label_codes",
    "label_figures",
    "nodata_code",
    "pair",
    "published_figure",
    "read_label",
    "tables",
    "write_png",
]

__getattr__ = lazy_face(
    __name__,
    {
        "codes": "LabelCodes check_label code_text codes_of nodata_code read_label",
        "comparison": "EvaluateOptions Tally Tiling compare counted",
        "confusion": "Confusion empty",
        "drawn_labels": "ENDINGS class_code is_drawn",
        "labels": "fitting label_codes",
        "options": "LabelOptions",
        "pairing": "Pairing pair",
        "report": "as_csv audit figures label_figures published_figure tables write_png",
    },
)
