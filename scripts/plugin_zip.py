"""`make plugin`: the QGIS plugin of `qgis/segearth` as a zip that QGIS installs (Plugins, Install from ZIP).

python -m scripts.plugin_zip [FOLDER]: writes dist/segearth-qgis-VERSION.zip; the same files give the same bytes.
"""

from __future__ import annotations

import configparser
import re
import sys
import zipfile
from pathlib import Path

from segearth_cli.version import __version__

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "qgis" / "segearth"
_EPOCH = (2020, 1, 1, 0, 0, 0)
# What the plugin repository asks for: plugins.qgis.org/docs/publish
_NEEDED = ("name", "description", "about", "version", "qgisMinimumVersion", "author", "email", "tracker", "repository")


def metadata() -> str:
    """metadata.txt with the version of now. Raises ValueError when something that QGIS asks for is missing."""
    text = (SOURCE / "metadata.txt").read_text(encoding="utf-8").replace("version=VERSION", f"version={__version__}")
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    told = parser["general"]
    missing = [key for key in _NEEDED if not told.get(key)]
    if missing or not re.fullmatch(r"\d+\.\d+", told["qgisMinimumVersion"]):
        raise ValueError(f"metadata.txt: {', '.join(missing) or 'qgisMinimumVersion'} is missing or no value")
    if not (SOURCE / told["icon"]).is_file():
        raise ValueError(f"metadata.txt: the icon {told['icon']} is not there")
    return text


def build(folder: Path) -> Path:
    """Writes the zip into `folder`; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"segearth-qgis-{__version__}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted([*SOURCE.glob("*.py"), *SOURCE.glob("*.svg"), SOURCE / "metadata.txt", ROOT / "LICENSE"]):
            data = metadata().encode() if path.name == "metadata.txt" else path.read_bytes()
            archive.writestr(zipfile.ZipInfo(f"segearth/{path.name}", _EPOCH), data, zipfile.ZIP_DEFLATED)
    return target


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"))
