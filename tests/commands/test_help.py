"""What helps while typing: examples that can be typed, values that the shell completes, tables that fit the screen."""

import shlex

import numpy as np
import pytest
import typer
from shell import segearth as in_shell

from segearth_cli import classes as class_lists
from segearth_cli import cli, presets
from segearth_cli.evaluation import Confusion, tables

COMMANDS = typer.main.get_command(cli.app).commands
EXAMPLES = [line for command in COMMANDS.values() for line in command.callback.examples]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_examples_end_the_help_of_every_command(segearth, name):
    assert COMMANDS[name].callback.examples
    page = segearth(name, "--help").out
    assert page.partition("\nExamples:\n")[2].splitlines() == [f"  {line}" for line in COMMANDS[name].callback.examples]
    assert max(map(len, page.splitlines())) <= 80


def test_every_command_is_listed_with_a_summary_that_is_not_cut(segearth, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    listed = segearth("--help").out.partition("Commands:\n")[2]
    assert "..." not in listed
    rows = [line.split(maxsplit=1) for line in listed.splitlines()]
    assert {name for name, _ in rows} == set(COMMANDS)  # one line each
    assert max(map(len, listed.splitlines())) <= 80


@pytest.mark.parametrize("width", [72, 80, 200])
def test_the_table_of_models_fits_the_screen(segearth, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    table = segearth("models").out
    assert max(map(len, table.splitlines())) <= width
    assert "small, embedded in segearth" in " ".join(table.split())


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_is_a_line_that_its_command_takes(line):
    program, command, *words = shlex.split(line)
    assert program == "segearth"
    COMMANDS[command].make_context(command, words)  # raises for an unknown flag


def completed(line):
    """What bash offers for the last word of a line."""
    words = line.split(" ")
    asked = {"_SEGEARTH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = in_shell(**asked)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


@pytest.mark.slow
def test_the_shell_completes_values():
    assert {"auto", "mini", "vit-b16"} <= set(completed("segearth predict --model "))
    assert completed("segearth predict --preset love") == ["loveda"]
    assert set(completed("segearth predict --preset ")) == set(presets.EVERY)
    assert completed("segearth predict --attention na") == ["naclip"]
    assert completed("segearth vectorize a.tif --format g") == ["gpkg", "geojson"]
    assert completed("segearth predict --gsd ") == ["auto"]
    assert completed("segearth predict a.tif --preview ") == ["png", "html"]


@pytest.mark.slow
def test_the_shell_completes_the_classes_of_a_mask(write_raster):
    tag = class_lists.to_tag(class_lists.parse("water,building,barn"))
    path = write_raster("m.tif", np.zeros((1, 9, 9), np.uint8))
    import rasterio

    with rasterio.open(path, "r+") as ds:
        ds.update_tags(SEGEARTH_CLASSES=tag)
    assert completed(f"segearth vectorize {path} --classes water,b") == ["water,building", "water,barn"]


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("count", [1, 3, 5, 9, 40])
def test_scores_fit_the_screen_and_every_figure_is_there(count, width):
    classes = class_lists.parse(",".join(f"a class with a long name {i}" for i in range(count)))
    counts = np.random.default_rng(count).integers(1, 1_000_000, (count, count + 1))
    text = tables(classes, Confusion(counts), width)
    assert max(map(len, text.splitlines())) <= max(width, 72)  # narrower ones would lose figures
    shares = counts / counts.sum(axis=1, keepdims=True) * 100
    for row in shares:
        for share in row:
            assert f"{share:.1f}" in text


def test_short_names_stand_above_their_columns():
    classes = class_lists.parse("water,roof")
    text = tables(classes, Confusion(np.array([[3, 1, 0], [0, 4, 0]])), 80)
    assert "┃ water ┃  roof ┃" in text
