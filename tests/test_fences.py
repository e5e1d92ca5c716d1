"""Every line for shells and for Python that README and docs show runs as it stands, or the page says why it does not.

`<!-- not run: REASON -->` above a fence leaves it out; `<!-- not run where TEXT: REASON -->` the lines that hold the
text. What is left out must still be words that its command takes. The fences of a page run in their order, in one
folder, with the tests' tiny model; a fence whose first line is `# NAME` becomes that file. Fences of
Python that follow each other are one program.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import fiona
import numpy as np
import pytest
import rasterio
import sets
import shell
import typer
from noise import save_scene
from PIL import Image
from rasterio.transform import from_origin
from tiers import thorough

from segearth_cli import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(?P<told>(?:<!-- not run[^\n]*-->\n)*)^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
LEFT_OUT = re.compile(r"<!-- not run(?: where ([^\n]+?))?: [^\n]+ -->\n")
COMMANDS = typer.main.get_command(cli.app).commands
LANGUAGES = {"sh", "python", "text", "toml"}
RUN = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
FILE = re.compile(r"# ([\w.-]+\.\w+)\n")

# Folders of the pages' machines, which a test does not write to.
ELSEWHERE = {"/shared/": "shared/", "/data": "data"}

# What people and other machines do before a fence that holds a text, by page.
MEANWHILE = {
    ("docs/calibrate.md", "--labels points.gpkg"): "cp clicks.gpkg points.gpkg",
    ("docs/large-scale.md", "segearth merge /shared/run "): (
        "segearth predict scene.tif -c water,building --work shared/run --shard-size auto --shard-index 0 "
        "--shard-count 16"
    ),
    ("docs/preview.md", "masks/ "): "segearth predict scenes/*.tif -c water -o masks/ -q",
    ("docs/large-scale.md", "--work /shared/runs"): "export JOB_COMPLETION_INDEX=3",
}


@dataclass(frozen=True)
class Fence:
    """A fence of a page: its language, its lines, and which of them no shell is given."""

    line: int
    language: str
    text: str
    left_out_where: tuple[str, ...]

    @property
    def lines(self):
        return self.text.replace("\\\n", " ").splitlines(keepends=True)

    def is_left_out(self, line):
        return any(text in line for text in self.left_out_where)

    @property
    def runs(self):
        """What a shell is given."""
        return "".join(line for line in self.lines if not self.is_left_out(line))


def fences(page):
    text = page.read_text(encoding="utf-8")
    return [
        Fence(
            text[: found.start("language")].count("\n") + 1,
            *found.group("language", "text"),
            tuple(where for where in LEFT_OUT.findall(found["told"])),
        )
        for found in FENCE.finditer(text)
    ]


def name(page):
    return page.relative_to(ROOT).as_posix()


def programs(page):
    """What a page has people run, in order: language and fences; those of Python that follow each other are one."""
    running = [fence for fence in fences(page) if fence.language in RUN and fence.runs and not FILE.match(fence.text)]
    for language, together in groupby(running, lambda fence: fence.language):
        if language == "python":
            yield language, list(together)
        else:
            yield from ((language, [fence]) for fence in together)


LONG = {"tutorial", "reproduce"}
WITH_PROGRAMS = [thorough(page) if page.stem in LONG else page for page in PAGES if any(programs(page))]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_of_a_page_is_in_a_fence_that_says_its_language(page):
    assert {fence.language for fence in fences(page)} <= LANGUAGES
    outside = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert re.findall(r"(?<=\n\n) {4}\w.*", outside) == []
    assert "```" not in outside


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_a_page_shows_and_no_test_runs_is_what_its_command_takes(page):
    for fence in fences(page):
        if fence.language != "sh":
            continue
        for where in fence.left_out_where:
            assert where in fence.text, f"line {fence.line}"
        for line in filter(fence.is_left_out, fence.lines):
            for words in commands_of(line):
                COMMANDS[words[1]].make_context(words[1], words[2:])  # raises for an unknown flag


def commands_of(line):
    """The words of each command of a line of the shell that is ours."""
    split = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    split.whitespace_split = True
    found = [[]]
    for word in split:
        if set(word) <= set("|&;"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words[:1] == ["segearth"]]


# in a shell


@pytest.fixture(scope="module")
def path(at_hand_program):
    """The PATH of a shell whose `segearth` is the command line of this tree."""
    return f"{at_hand_program.parent}:{os.environ['PATH']}"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """What the pages take for granted: scenes, labels, lists of classes and of scenes."""
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


def make_inputs(folder):
    berlin = from_origin(391_400, 5_817_800, 0.3, 0.3)
    scene = save_scene(folder / "scene.tif", 96, 160, transform=berlin)
    save_scene(folder / "huge.tif", 96, 600, seed=1)
    save_scene(folder / "radar.tif", 224, 224, bands=1, photometric="MINISBLACK")
    for number in (1, 2):
        (folder / "scenes").mkdir(exist_ok=True)
        save_scene(folder / "scenes" / f"{number}.tif", 80, 96, seed=number)
    (folder / "data" / "deep").mkdir(parents=True)
    pixels = np.random.default_rng(2).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "data" / "deep" / "1.jp2")
    (folder / "labels").mkdir()
    Image.fromarray(pixels[..., 0] % 3).save(folder / "labels" / "1.png")
    (folder / "scenes.csv").write_text("scene\nscenes/1.tif\nscenes/2.tif\n")
    (folder / "legend.txt").write_text("water, river\nbuilding, roof\nbare soil, barren land\n")
    with rasterio.open(scene) as ds:
        crs, left, top, right, bottom = ds.crs, *ds.transform @ (0, 0), *ds.transform @ (ds.width, ds.height)
    names, random = ("water", "building", "bare soil"), np.random.default_rng(3)
    places = random.uniform((left, bottom), (right, top), (30, 2)).tolist()
    clicks = [({"type": "Point", "coordinates": place}, names[i % 3]) for i, place in enumerate(places)]
    save_features(folder / "clicks.gpkg", crs, clicks)
    middle = (left + right) / 2
    ring = [(left, bottom), (middle, bottom), (middle, top), (left, top), (left, bottom)]
    save_features(folder / "fields.gpkg", crs, [({"type": "Polygon", "coordinates": [ring]}, "field")])
    for preset, place in (("potsdam", "Potsdam"), ("loveda", "LoveDA"), ("loveda", "sets/LoveDA")):
        sets.make(preset, folder / place)


def save_features(path, crs, features):
    """Geometries and the names of their classes as a GeoPackage."""
    schema = {"geometry": features[0][0]["type"], "properties": {"class": "str"}}
    with fiona.open(path, "w", driver="GPKG", crs=crs, schema=schema) as sink:
        for geometry, label in features:
            sink.write({"geometry": geometry, "properties": {"class": label}})


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_PROGRAMS, ids=name)
def test_what_a_page_has_people_run_runs_as_it_stands(page, inputs, path, wide_model_dir, tmp_path):
    here = tmp_path / "here"
    shutil.copytree(inputs, here)
    (here / "sample_tiles").symlink_to(ROOT / "sample_tiles")
    environment = shell.environment(PATH=path, SEGEARTH_MODEL=f"local-dir:{wide_model_dir}", MPLBACKEND="agg")
    for fence in fences(page):
        if named := FILE.match(fence.text):
            (here / named[1]).write_text(fence.text)
    for language, together in programs(page):
        program = "\n".join(fence.runs for fence in together)
        for place, other in ELSEWHERE.items():
            program = program.replace(place, other)
        text = "\n".join(fence.text for fence in together)
        before = [line for (where, part), line in MEANWHILE.items() if where == name(page) and part in text]
        words = [*RUN[language], "\n".join([*before, program])]
        done = subprocess.run(words, cwd=here, env=environment, capture_output=True, text=True, check=False)
        at = f"{name(page)}, line {together[0].line}"
        assert done.returncode == 0, f"{at}:\n{program}\n{done.stdout}\n{done.stderr}"
