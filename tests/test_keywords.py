"""Lines that name flags, told with the keywords of Python functions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from segearth_cli.keywords import by_keyword, flags_by_name
from segearth_cli.options import option, options_of


@dataclass(frozen=True)
class Some:
    side: int | None = option(None, "--long-side", "-l", help="Side.")
    share: float = option(0.5, help="Share.")
    how: Literal["mean", "taper"] = option("mean", help="How.")
    gsd: float | Literal["auto"] | None = option(None, help="Metres.")
    place: Path | None = option(None, help="Where.")
    loud: bool = option(False, help="Tell.")
    alpha: bool = option(True, "--use-alpha/--ignore-alpha", help="Alpha.")


KNOWN = flags_by_name(options_of(Some)) | {"--map": "label_map"}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--long-side 0: need a number", "long_side=0: need a number"),
        ("--long-side and --share together: choose one", "long_side= and share= together: choose one"),
        ("--place some name: is gone", "place=some name: is gone"),
        ("--place cuda:9: is gone", "place=cuda:9: is gone"),
        ("--place: is gone: --loud", "place=: is gone: loud=True"),
        ("--share nan: need a number; or --how mean", "share=nan: need a number; or how=mean"),
        ("a.tif: need 3 of 4; --long-side, e.g. --long-side 3", "a.tif: need 3 of 4; long_side=, e.g. long_side=3"),
        ("a.tif: exists; replace it with --loud", "a.tif: exists; replace it with loud=True"),
        ("a.tif: nothing left; --ignore-alpha mends it", "a.tif: nothing left; use_alpha=False mends it"),
        ("a is background (--place nowhere)", "a is background (place=nowhere)"),
        ("12 are left out (--place counts them)", "12 are left out (place= counts them)"),
        ("a.tif: too coarse; try --gsd auto: 2 m", "a.tif: too coarse; try gsd=auto: 2 m"),
        ("try a lower --share (now 1), --how mean or another", "try a lower share= (now 1), how=mean or another"),
        ("better with --place none, or more --share", "better with place=none, or more share="),
        ("x: --map 1=0 is needed, see --help and a--share", "x: label_map=1=0 is needed, see --help and a--share"),
    ],
)
def test_a_line_for_the_shell_becomes_one_for_python(line, told):
    assert by_keyword(line, KNOWN) == told
