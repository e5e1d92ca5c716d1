"""What is shown of a mask, as the user says it; light, for a command line to be built from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from segearth_cli.options import option, validate
from segearth_cli.raster import PixelOptions
from segearth_cli.styles import OPACITY

Kind = Literal["png", "html"]
SIZES: dict[str, int] = {"png": 600, "html": 1600}  # pixels of the longer side of a map


@dataclass(frozen=True, slots=True)
class PreviewOptions:
    """How a mask is shown."""

    size: int | None = option(
        None,
        help="Longer side of a map.",
        panel="Picture",
        unit="px",
        shown="png 600, html 1600",
        at_least=64,
        at_most=8192,
    )
    """Pixels, 64 to 8192; None = by the kind of file."""
    opacity: float = option(OPACITY, help="Of the mask over the scene, 0 to 1.", panel="Picture", at_least=0, at_most=1)
    """Share of the mask's colours over the scene."""
    read: PixelOptions = field(default_factory=PixelOptions)
    """How the scene becomes 8-bit RGB; bands that nobody names are those of the mask's run."""

    def __post_init__(self) -> None:
        validate(self)
