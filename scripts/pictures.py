"""`make pictures`: draws the pictures of README and docs anew, from what `make demo` made with the model of now.

docs/preview.png is what `segearth preview` draws; docs/tutorial-*.png what the commands of docs/tutorial.md draw;
docs/qgis.png, where QGIS is installed, what QGIS draws.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

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
    tutorial()
    layers = [mask, MADE["polygons"]]
    words: list[str | Path] = [QGIS_PYTHON, ROOT / "scripts" / "check_in_qgis.py", *layers, "--png", docs / "qgis.png"]
    environment = {key: text for key, text in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(words, check=False, env=environment | {"QT_QPA_PLATFORM": "offscreen"})
    if done.returncode:
        sys.exit("docs/qgis.png was not drawn: it needs QGIS and its Python (Debian: apt install qgis python3-qgis)")


def tutorial() -> None:
    """Runs the page's commands in an empty folder, and keeps its pictures in 256 colours."""
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with TemporaryDirectory() as folder:
        subprocess.run(["bash", "-ec", script], cwd=folder, check=True, env=os.environ | {"PATH": programs})
        for name in ("words", "clicks"):
            drawn = Image.open(Path(folder) / f"{name}.png").convert("RGB")
            drawn.quantize(256).save(ROOT / "docs" / f"tutorial-{name}.png")


def segearth(*arguments: object) -> None:
    """Runs the command line, which must succeed."""
    subprocess.run([sys.executable, "-m", "segearth_cli", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
