"""Config files: what a command was given comes back from `--save-config` by `--config`, and the command line wins."""

import json
import sys
from pathlib import Path

import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from noise import save_scene

from segearth_cli.commands.evaluate import evaluate
from segearth_cli.commands.predict import predict
from segearth_cli.commands.vectorize import vectorize
from segearth_cli.config import config_text, is_config, read_config, settled

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OPTIONS = predict.options


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return save_scene("s.tif", 80, 90)


@pytest.fixture
def run(segearth, model_dir, scene):
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none")
    return lambda *arguments: segearth("predict", scene, *model, *arguments)


def facts(mask):
    with rasterio.open(mask) as ds:
        return json.loads(ds.tags()["SEGEARTH_RUN"])


def test_a_run_is_the_same_from_its_saved_options(run):
    words = ("-c", "water|river,roof", "--background", "water", "-t", "0.25", "--bands", "3,2,1", "--no-alpha")
    saved = run(*words, "--tile", "64x48", "-o", "a.tif", "--save-config", "run.toml")
    assert "segearth: written: run.toml" in saved.lines
    again = run("--config", "run.toml", "-o", "b.tif")
    assert again.code == 0, again.err
    assert Path("a.tif").read_bytes() == Path("b.tif").read_bytes()
    assert facts("b.tif")["tile"] == [64, 48]


def test_the_command_line_wins_and_puts_aside_what_it_is_an_alternative_to(run):
    Path("run.toml").write_text('classes = "water,roof"\nthreshold = 0.5\nlong-side = 70\nstride = 32\n')
    Path("list.txt").write_text("tree\ngrass\n")
    done = run("--config", "run.toml", "--classes-file", "list.txt", "--scale", "0.9", "-t", "0.25", "-o", "m.tif")
    assert done.code == 0, done.err
    found = facts("m.tif")
    assert [names[0] for names in found["classes"]][-2:] == ["tree", "grass"]
    assert (found["threshold"], found["stride"], found["working_size"]) == (0.25, 32, [72, 81])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("treshold = 0.5", "option treshold: unknown; did you mean threshold?"),
        ("threshold = 2", "--threshold 2: need a number from 0 to 1"),
        ('blend = "foo"', "--blend foo: choose one of mean, taper"),
        ("stride = true", "--stride True: need a whole number"),
        ("batch-size = 0", "--batch-size 0: need auto or a number from 1"),
        ("save-config = 'x.toml'", "option save-config: unknown"),
        ("threshold = ", "Invalid value"),
    ],
)
def test_a_slip_is_one_line_with_file_key_and_what_is_accepted(run, line, says):
    Path("run.toml").write_text(line)
    done = run("-c", "water", "--config", "run.toml")
    assert (done.code, len(done.lines)) == (2, 1)
    assert "--config run.toml: " in done.err
    assert says in done.err
    assert not Path("s.mask.tif").exists()


def test_a_file_that_is_not_there_is_told(run):
    assert run("--config", "absent.toml").lines == ["segearth: --config absent.toml: No such file or directory"]


@pytest.mark.parametrize("name", ["s.tif", "notes.toml", "old.toml"])
def test_saving_replaces_nothing_but_a_config_of_ours_when_asked(run, name):
    Path("notes.toml").write_text("mine = 1\n")
    Path("old.toml").write_text("# Options of segearth predict\n")
    before = Path(name).read_bytes()
    words = ("-c", "water,roof", "-q", "--save-config", name)
    done = run(*words)
    assert (done.code, len(done.lines), Path("s.mask.tif").exists()) == (2, 1, False)
    assert Path(name).read_bytes() == before
    done = run(*words, "--overwrite")
    assert (done.code == 0) == (name == "old.toml")
    assert (Path(name).read_bytes() == before) == (name != "old.toml")


def test_the_options_that_are_read_are_not_replaced(run):
    assert run("-c", "water,roof", "-q", "--save-config", "run.toml").code == 0
    before = Path("run.toml").read_bytes()
    Path("link.toml").symlink_to("run.toml")
    done = run("--config", "run.toml", "-t", "0.5", "-q", "--save-config", "link.toml", "--overwrite")
    assert (done.code, len(done.lines), Path("run.toml").read_bytes()) == (2, 1, before)


def test_a_run_that_fails_saves_nothing_and_one_of_which_some_fail_does(run, segearth):
    assert run("-c", "water,roof", "-t", "3", "--save-config", "run.toml").code == 2
    assert not Path("run.toml").exists()
    done = run("absent.tif", "-c", "water,roof", "--save-config", "run.toml")
    assert (done.code, is_config(Path("run.toml"))) == (3, True)


def test_every_command_takes_them(segearth, scene):
    Path("i.toml").write_text("bands = [3, 2, 1]\njson = true\n")
    assert json.loads(segearth("inspect", scene, "--config", "i.toml").out)["readings"]["bands"]["value"] == [3, 2, 1]
    segearth("models", "--json", "--save-config", "m.toml")
    assert segearth("models", "--config", "m.toml").out.startswith("[")
    again = segearth("models", "--save-config", "m.toml")
    assert again.lines == ["segearth: --save-config m.toml: exists already; choose another name"]  # no --overwrite here
    Path("v.toml").write_text("scene = 's.tif'\n")
    assert "unknown" in segearth("vectorize", scene, "--config", "v.toml").err


@pytest.mark.slow
@pytest.mark.parametrize("command", [predict, vectorize, evaluate])
@given(data=st.data())
def test_what_is_written_is_read_back(command, data, tmp_path_factory):
    """Whatever the values are: numbers, switches, choices, texts with quotes and line ends, lists."""
    kinds = {bool: st.booleans(), int: st.integers(1, 99), float: st.floats(0.125, 1), str: st.text(), Path: st.text()}
    values = {}
    for told in command.options:
        if told.parse or told.bare or told.name in ("config", "save_config"):
            continue
        kind = st.sampled_from(told.choices) if told.choices else kinds.get(told.kind, st.lists(st.text()))
        value = data.draw(st.none() | kind, told.name)
        if value is not None:
            values[told.name] = Path(value) if told.kind is Path else value
    path = tmp_path_factory.mktemp("config") / "run.toml"
    path.write_text(config_text(values, command.options, "test"), encoding="utf-8")
    tomllib.loads(path.read_text(encoding="utf-8"))
    assert read_config(path, command.options) == values


def test_the_command_line_puts_no_other_option_aside():
    read = {"classes": "a", "threshold": 0.5, "gsd": "auto", "device": "cpu"}
    assert settled(read, {"preset": "loveda", "devices": "cpu,cpu"}, OPTIONS) == {
        "preset": "loveda", "threshold": 0.5, "gsd": "auto", "devices": "cpu,cpu"
    }  # fmt: skip
