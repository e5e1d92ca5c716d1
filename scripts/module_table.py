"""The list of packages and modules in docs/architecture.md, from the first line of each docstring.

Writes it into the page; `tests/test_house.py` fails while the page says something else.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- modules: written by scripts/module_table.py -->\n", "<!-- end of modules -->"
PACKAGES = (
    *("commands", "reproduction", "calibration", "jobs", "prediction", "training", "evaluation", "vector", "maps"),
    *("weights", "model", "raster", ""),
)


def first_line(path: Path) -> str:
    """The first line of a module's docstring, empty where it has none."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def listed() -> str:
    """The list as Markdown: a heading and a line for each package, a line for each of its modules."""
    parts = []
    for package in PACKAGES:
        folder = ROOT / "segearth_cli" / package
        story = first_line(folder / "__init__.py") if package else "What every package may use, and the way in."
        parts.append(f"**`{package + '/' if package else 'top'}`**: {story}\n")
        modules = sorted(path for path in folder.glob("*.py") if not path.name.startswith("__"))
        parts.extend(f"- `{path.stem}`: {first_line(path)}" for path in modules)
        parts.append("")
    return "\n".join(parts)


def page() -> str:
    """The page with the list as it is to be."""
    text = PAGE.read_text(encoding="utf-8")
    return re.sub(f"(?s)({re.escape(BEGIN)}).*?({re.escape(END)})", lambda m: f"{m[1]}\n{listed()}{m[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
