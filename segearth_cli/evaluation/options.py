"""What the user can say of labels; light, for a command line to be built from it."""

from __future__ import annotations

from dataclasses import dataclass

from segearth_cli.options import option


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """What labels mean: their codes, the fields of features, and which of their pixels count."""

    ignore: tuple[str, ...] | None = option(
        None, help="Label codes to leave out, beside 255, e.g. 0,7; repeatable.", panel="Labels", unit="codes"
    )
    """Codes, or colours such as `#ff0000`, several by commas too."""
    mapping: str | None = option(
        None, "--map", help="Label codes as class codes, e.g. 1=0,2=1 or '#ffffff=1'.", panel="Labels", unit="codes"
    )
    """LABEL=CLASS, separated by commas."""
    label_offset: int | None = option(
        None, help="Added to label codes, e.g. -1 if they start at 1.", panel="Labels", unit="number"
    )
    """In place of the preset's codes; None = 0."""
    field: str = option("class", help="Field that names the class, or holds its code.", panel="Labels", unit="name")
    """Of labels that are features: name of the field, whatever its case."""
    layer: str | None = option(None, help="Layer of the labels, where a file has several.", panel="Labels", unit="name")
    """Of labels that are features: name of the layer; None = the only one."""
    count_nodata: bool = option(False, help="Count labelled pixels without data in the mask as missed.", panel="Labels")
    """Else they are left out."""
