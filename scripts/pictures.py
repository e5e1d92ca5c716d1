"""`make pictures`: draws the pictures of README and docs anew, from what `make demo` made with the model of now.

docs/preview.png is what `segearth preview` draws; docs/qgis.png, where QGIS is installed, what QGIS draws.
"""

import os
import subprocess
import sys
from pathlib import Path

from segearth_cli.commands.demo import ENDS

ROOT = Path(__file__).parent.parent
MADE = {name: ROOT / "demo" / f"bahamas{end}" for name, end in ENDS.items()}

QGIS_PYTHON = os.environ.get("QGIS_PYTHON", "/usr/bin/python3")


def main() -> None:
    """Draws them."""
    mask, docs = MADE["mask"], ROOT / "docs"
    if not mask.exists():
        sys.exit("no demo/bahamas.mask.tif: run `make demo` first")
    segearth("preview", mask, "--scene", MADE["scene"], "--size", "400", "--out", docs / "preview.png", "--overwrite")
    layers = [mask, MADE["polygons"]]
    words: list[str | Path] = [QGIS_PYTHON, ROOT / "scripts" / "check_in_qgis.py", *layers, "--png", docs / "qgis.png"]
    environment = {key: text for key, text in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(words, check=False, env=environment | {"QT_QPA_PLATFORM": "offscreen"})
    if done.returncode:
        sys.exit("docs/qgis.png was not drawn: it needs QGIS and its Python (Debian: apt install qgis python3-qgis)")


def segearth(*arguments: object) -> None:
    """Runs the command line, which must succeed."""
    subprocess.run([sys.executable, "-m", "segearth_cli", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
