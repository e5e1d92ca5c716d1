"""The site: its navigation names every page, and it is built strictly and read without network."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import shell
import yaml

from scripts.site_pages import FIRST, pages

ROOT = Path(__file__).parents[1]
NAMED = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])


def test_the_navigation_names_every_page_once():
    outside = (*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), ROOT / "sample_tiles" / "README.md")
    cards = (ROOT / "segearth_cli").rglob("*.md")
    written = [path.relative_to(ROOT).as_posix() for path in (*outside, *cards)]
    there = [FIRST.get(path, path) for path in written] + [path.name for path in (ROOT / "docs").glob("*.md")]
    assert sorted(NAMED) == sorted(there)


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("material") or not find_spec("mkdocstrings"), reason="needs the extra docs")
def test_the_site_is_built_strictly_and_fetches_nothing(tmp_path):
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", tmp_path / "site"]
    environment = shell.environment(NO_MKDOCS_2_WARNING="1")
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    drawn = {name: tmp_path / "site" / re.sub(r"(README)?\.md$", "", name) for name in NAMED}
    drawn = [path / "index.html" if path.is_dir() else path.with_name(f"{path.name}.html") for path in drawn.values()]
    for page in drawn:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|link|iframe)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"', text)
        assert loaded == [], page
    assert 'id="segearth_cli.api.predict"' in (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
