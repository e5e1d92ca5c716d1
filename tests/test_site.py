"""The site: its navigation names every page, and it is built strictly and read without network."""

import re
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

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


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built strictly."""
    if not find_spec("material") or not find_spec("mkdocstrings"):
        pytest.skip("needs the extra docs")
    folder = tmp_path_factory.mktemp("built") / "site"
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", folder]
    environment = shell.environment(NO_MKDOCS_2_WARNING="1")
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


@pytest.mark.slow
def test_the_site_fetches_nothing(site):
    drawn = {name: site / re.sub(r"(README)?\.md$", "", name) for name in NAMED}
    drawn = [path / "index.html" if path.is_dir() else path.with_name(f"{path.name}.html") for path in drawn.values()]
    for page in drawn:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|link|iframe)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"', text)
        assert loaded == [], page
    assert 'id="segearth_cli.api.predict"' in (site / "api.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.browser
def test_words_and_flags_are_found(site):
    from playwright.sync_api import sync_playwright

    handler = partial(SimpleHTTPRequestHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as playwright:
        Thread(target=server.serve_forever, daemon=True).start()
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--headless", "--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 800})
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        for query, found in (("calibrate", "segearth calibrate"), ("--gsd", "--gsd")):
            page.locator("input[name=query]").fill("")
            page.locator("input[name=query]").press_sequentially(query)
            page.locator(".md-search-result__item", has_text=found).first.wait_for()
        browser.close()
        server.shutdown()
