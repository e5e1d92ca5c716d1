"""Masks against labels: which belongs to which, brought to one grid, counted and reported.

Counts add up over any number of files; scores are read from the sums.
Knows no model; reads masks, and labels as rasters or features, and prints nothing.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.evaluation.codes import (
        UNKNOWN,
        LabelCodes,
        check_label,
        code_text,
        codes_of,
        ignored_codes,
        nodata_code,
        read_label,
    )
    from segearth_cli.evaluation.comparison import EvaluateOptions, Tally, compare, counted
    from segearth_cli.evaluation.confusion import Confusion, empty
    from segearth_cli.evaluation.drawn_labels import ENDINGS, drawn_class, is_drawn
    from segearth_cli.evaluation.labels import fitting, label_codes
    from segearth_cli.evaluation.options import LabelOptions
    from segearth_cli.evaluation.own_classes import classes_of
    from segearth_cli.evaluation.pairing import Pairing, pair
    from segearth_cli.evaluation.report import (
        as_csv,
        audit,
        figures,
        published_figure,
        refuse_no_picture,
        set_figures,
        tables,
        write_png,
    )

__all__ = [
    "ENDINGS",
    "UNKNOWN",
    "Confusion",
    "EvaluateOptions",
    "LabelCodes",
    "LabelOptions",
    "Pairing",
    "Tally",
    "as_csv",
    "audit",
    "check_label",
    "classes_of",
    "code_text",
    "codes_of",
    "compare",
    "counted",
    "drawn_class",
    "empty",
    "figures",
    "fitting",
    "ignored_codes",
    "is_drawn",
    "label_codes",
    "nodata_code",
    "pair",
    "published_figure",
    "read_label",
    "refuse_no_picture",
    "set_figures",
    "tables",
    "write_png",
]

__getattr__ = lazy_face(
    __name__,
    {
        "codes": "UNKNOWN LabelCodes check_label code_text codes_of ignored_codes nodata_code read_label",
        "comparison": "EvaluateOptions Tally compare counted",
        "confusion": "Confusion empty",
        "drawn_labels": "ENDINGS drawn_class is_drawn",
        "labels": "fitting label_codes",
        "own_classes": "classes_of",
        "options": "LabelOptions",
        "pairing": "Pairing pair",
        "report": "as_csv audit figures published_figure refuse_no_picture set_figures tables write_png",
    },
)
