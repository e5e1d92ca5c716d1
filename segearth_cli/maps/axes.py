"""A mask in matplotlib's axes, for notebooks: its classes in their colours, with a legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segearth_cli.classes import NODATA, ClassSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_in(axes: Axes, codes: NDArray[np.uint8], classes: ClassSet) -> None:
    """Draws class codes (H, W), nothing where they are 255, with a legend of the classes that are there."""
    from matplotlib.patches import Patch

    colours = np.zeros((256, 4), np.uint8)
    colours[: len(classes), :3], colours[: len(classes), 3] = classes.colors, 255
    there = [code for code in np.unique(codes) if code != NODATA]
    axes.imshow(colours[codes], interpolation="nearest")
    axes.legend(handles=[Patch(color=colours[code] / 255, label=classes.names[code]) for code in there])
    axes.set_axis_off()
