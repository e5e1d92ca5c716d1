"""A preview in a real browser: what is drawn, switched, slid and zoomed, and that nothing is fetched."""

import json
import shutil

import numpy as np
import pytest

from segearth_cli.class_colors import default_color
from segearth_cli.classes import NODATA, ClassSet
from segearth_cli.maps import PreviewOptions, draw
from segearth_cli.raster import Outputs, Rows, Window, open_scene, writing

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAMES = ("water", "</script><b>bold", '"><img src=x onerror="window.hit=1">')
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=list(FLAGS),
            viewport={"width": 1000, "height": 600},
        )
        yield context
        context.close()


@pytest.fixture
def codes():
    codes = np.kron(np.arange(12).reshape(3, 4) % 3, np.ones((20, 20))).astype(np.uint8)
    codes[:5] = NODATA
    return codes


@pytest.fixture
def opened(browser, write_raster, codes, tmp_path):
    """The page of a mask over its scene, open, and all that it asked for and complained of."""
    scene = open_scene(write_raster("scene.tif", np.full((3, *codes.shape), 200, np.uint8)))
    colors = tuple(default_color(name, code) for code, name in enumerate(NAMES))
    classes = ClassSet(NAMES, tuple((name,) for name in NAMES), colors)
    run = {"scene": "scene.tif", "classes": ["</script><script>window.hit=1</script>"]}
    with writing(Outputs(tmp_path / "m.tif"), scene, classes, {"SEGEARTH_RUN": json.dumps(run)}) as writer:
        writer.write(Rows(Window(0, 0, *codes.shape), codes, codes, None))
    draw(tmp_path / "m.tif", tmp_path / "m.html", PreviewOptions(opacity=0.5), scene)
    page, heard = browser.new_page(), []
    page.on("request", lambda request: heard.append(request.url))
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(f"file://{tmp_path / 'm.html'}")
    yield page, heard, colors
    page.close()


CANVAS = """() => {
  const canvas = document.querySelector("#over canvas");
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""


NAME = """() => {
  const one = document.activeElement;
  return one.ariaLabel || one.labels?.[0]?.innerText || one.innerText || "";
}"""


def drawn(page, codes):
    """What the mask's canvas shows, (h, w, 4)."""
    return np.array(page.evaluate(CANVAS), np.uint8).reshape(*codes.shape, 4)


def test_the_mask_is_drawn_and_classes_are_switched(opened, codes):
    page, _, colors = opened
    table = np.zeros((256, 4), np.uint8)
    table[:3, :3], table[:3, 3] = colors, 255
    assert (drawn(page, codes) == table[codes]).all()
    page.locator("#legend input").nth(1).uncheck()
    table[1] = 0
    shown = drawn(page, codes)
    assert (shown[..., 3] == table[codes][..., 3]).all()
    page.click("#none")
    assert not drawn(page, codes)[..., 3].any()
    page.click("#all")
    assert (drawn(page, codes)[..., 3] > 0).sum() == (codes != NODATA).sum()


def test_names_are_text_and_no_script_but_its_own_runs(opened):
    page, heard, _ = opened
    assert page.locator("#legend tbody span").all_text_contents() == list(NAMES)
    assert page.evaluate("() => [window.hit, document.querySelectorAll('b').length]") == [None, 0]
    page.evaluate("() => { document.body.append(document.createRange().createContextualFragment("
                  "'<script>window.hit = 1</script>')) }")  # fmt: skip
    assert page.evaluate("() => window.hit") is None
    assert [line for line in heard if line.startswith(("http", "ws"))] == []


def test_nothing_is_fetched_and_nothing_complained_of(opened, codes):
    page, heard, _ = opened
    page.wait_for_function("() => document.querySelector('#over img').naturalWidth > 0")
    image = page.evaluate("() => document.querySelector('#over img').naturalWidth")
    assert image == codes.shape[1]
    assert [line[:5] for line in heard if not line.startswith("data:")] == ["file:"]


def test_whoever_has_keys_and_ears_alone_reaches_all_of_it(opened):
    page, _, _ = opened
    told = []
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        told.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        assert page.evaluate(NAME).strip(), f"{told[-1]} has no name"
    controls = ["opacity", "swipe", "beside", "in", "out", "fit", "over"]
    assert told == [*controls, *["INPUT"] * len(NAMES), "all", "none", "SUMMARY"]


def test_sliders_and_buttons_move_what_they_say(opened):
    page, _, _ = opened
    style = (
        "() => { const s = getComputedStyle(document.querySelector('#over canvas')); return [s.opacity, s.clipPath] }"
    )
    assert page.evaluate(style)[0] == "0.5"
    page.fill("#opacity", "0.2")
    page.fill("#swipe", "0.25")
    assert page.evaluate(style) == ["0.2", "inset(0px 75% 0px 0px)"]
    assert not page.locator("#second").is_visible()
    page.click("#beside")
    assert page.locator("#second canvas").is_visible()
    assert not page.locator("#over canvas").is_visible()


def test_zoom_keeps_the_place_under_the_pointer_and_the_scale_bar_true(opened, codes):
    page, _, _ = opened
    box = page.locator("#over .stack").bounding_box()
    at = box["x"] + box["width"] / 4, box["y"] + box["height"] / 4
    page.mouse.move(*at)
    page.mouse.wheel(0, -600)
    page.wait_for_timeout(200)
    after = page.locator("#over .stack").bounding_box()
    assert after["width"] == pytest.approx(4 * box["width"], rel=0.01)
    assert (at[0] - after["x"]) / after["width"] == pytest.approx(0.25, abs=0.01)
    told = page.locator(".bar span").text_content()
    metres = float(told.split()[0]) * {"cm": 0.01, "m": 1, "km": 1000}[told.split()[1]]
    bar = page.locator(".bar i").bounding_box()["width"] - 2  # its borders
    pixel = 0.5  # metres, of the mask in UTM
    assert bar / metres == pytest.approx(after["width"] / (codes.shape[1] * pixel), rel=0.02)
    page.click("#fit")
    assert page.locator("#over .stack").bounding_box()["width"] == pytest.approx(box["width"])
