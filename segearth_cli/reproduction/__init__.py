"""The published tables: the sets of the paper found on disk, predicted with the published settings and scored.

Layouts, splits, tiles and label codings are the authors'; figures stand beside the published ones. What every image
gave is kept, so that a run goes on where it was stopped.
Knows no command line.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.reproduction.find import FoundSet, Pair, TilePlace, find_pairs, find_sets
    from segearth_cli.reproduction.report import (
        RESULTS,
        as_document,
        as_text,
        result_files,
        table_csv,
        table_rows,
        write_result,
    )
    from segearth_cli.reproduction.rows import ROWS, TableRow, chosen_rows
    from segearth_cli.reproduction.run import Result, reproduce_row, row_settings

__all__ = [
    "RESULTS",
    "ROWS",
    "FoundSet",
    "Pair",
    "Result",
    "TableRow",
    "TilePlace",
    "as_document",
    "as_text",
    "chosen_rows",
    "find_pairs",
    "find_sets",
    "reproduce_row",
    "result_files",
    "row_settings",
    "table_csv",
    "table_rows",
    "write_result",
]

__getattr__ = lazy_face(
    __name__,
    {
        "find": "FoundSet Pair TilePlace find_pairs find_sets",
        "report": "RESULTS as_document as_text result_files table_csv table_rows write_result",
        "rows": "ROWS TableRow chosen_rows",
        "run": "Result reproduce_row row_settings",
    },
)
