"""The one order in which defaults, a model's advice, a preset and what the user gives count."""

import json
import shutil

import pytest

from segearth_cli.errors import UsageError, WeightsError
from segearth_cli.prediction import PredictOptions, resolve_settings
from segearth_cli.presets import get
from segearth_cli.weights import ModelOptions


@pytest.fixture
def settings(model_dir, tmp_path):
    """The settings of words given to a model whose folder carries some advice."""

    def resolved(advice, **given):
        folder = tmp_path / "advised"
        shutil.copytree(model_dir, folder, dirs_exist_ok=True)
        (folder / "segearth.json").write_text(advice if isinstance(advice, str) else json.dumps(advice))
        words = {} if "preset" in given else {"classes": "water,roof"}
        return resolve_settings({"model": f"local-dir:{folder}"} | words | given)

    return resolved


def test_without_advice_the_defaults_count(settings):
    found = settings({})
    assert found.options == PredictOptions()
    assert found.model == ModelOptions(found.model.model)


def test_flags_win_over_the_preset_over_the_advice_over_the_defaults(settings):
    advice = {"blend": "taper", "global_bias": 0.5, "threshold": 0.9, "stride": 16}
    advised, preset = settings(advice), settings(advice, preset="loveda")
    assert (advised.options.blend, advised.model.global_bias, advised.options.threshold) == ("taper", 0.5, 0.9)
    assert (preset.options.blend, preset.model.global_bias, preset.options.threshold) == ("mean", 0.3, 0.3)
    assert not preset.options.read.antialias
    assert preset.options.stride == 16  # which the preset says nothing of
    flags = settings(advice, preset="loveda", blend="taper", global_bias=0, threshold=0.1, antialias=True)
    assert (flags.options.blend, flags.model.global_bias, flags.options.threshold) == ("taper", 0.0, 0.1)
    assert flags.options.read.antialias


def test_one_resolution_takes_the_place_of_another(settings):
    given = settings({"scale": 0.5}, preset="loveda", gsd=2.0).options
    assert (given.scale, given.long_side, given.gsd) == (None, None, 2.0)
    with pytest.raises(UsageError, match="--gsd and --long-side together"):
        settings({}, gsd=2.0, long_side=100)


def test_a_model_says_which_pixels_it_is_good_at(settings):
    assert settings({"good_gsd": [0.3, 1]}).options.good_gsd == (0.3, 1.0)
    assert settings({"good_gsd": [0.3, 1]}, gsd="auto").options.gsd == "auto"
    assert settings({"gsd": "auto", "good_gsd": [0.3, 1]}).options.gsd == "auto"
    assert settings({"gsd": 2}).options.good_gsd is None
    with pytest.raises(UsageError, match="--gsd auto: .* does not say what it is good at; name metres"):
        settings({}, gsd="auto")


def test_a_model_advises_what_is_not_said_of_words(settings):
    advice = {"background": "competing", "synonyms": "mean", "logit_scale": 40}
    made = settings(advice, classes="water|river,roof")
    assert (made.classes.phrases[0], made.classes.synonyms) == (("background",), ("max", "mean", "max"))
    assert made.options.logit_scale == 40
    assert any("code 0, background, which the list does not name" in line for line in made.notes)
    said = settings(advice, classes="water|river,roof", background="none", synonyms="max", logit_scale=100)
    assert (said.classes.names, said.classes.synonyms, said.options.logit_scale) == (("water", "roof"), (), 100)
    own = settings(advice, classes="water|river,background")
    assert (own.classes.names, own.classes.background) == (("water", "background"), 1)
    assert not own.notes
    preset = settings(advice, preset="openearthmap")
    assert (preset.classes, preset.options.logit_scale) == (get("openearthmap").classes(), 50)


def test_a_background_of_the_users_own_that_the_list_lacks_is_told_with_what_may_have_been_meant(settings):
    made = settings({}, background="treshold")
    assert (made.classes.names, made.classes.phrases[0]) == (("treshold", "water", "roof"), ("treshold",))
    (line,) = made.notes
    assert "code 0, treshold, which the list does not name: pixels more like 'treshold'" in line
    assert line.endswith("(--background treshold; did you mean threshold?)")
    assert settings({}, background="roof").notes == ()


def test_what_a_class_file_says_of_synonyms_counts_more_than_advice(settings, tmp_path):
    (tmp_path / "classes.txt").write_text("background\nwater, river; synonyms: mean\nroof, house\n")
    file = {"classes": None, "classes_file": tmp_path / "classes.txt"}
    assert settings({"synonyms": "max"}, **file).classes.synonyms == ("max", "mean", "max")
    assert settings({"synonyms": "max"}, synonyms="max", **file).classes.synonyms == ()
    assert settings({}, synonyms="mean", **file).classes.synonyms == ("max", "mean", "mean")


@pytest.mark.parametrize("name", ["loveda", "xbd", "potsdam"])
def test_a_preset_says_lambda_as_the_flag_does(settings, name):
    assert settings({}, preset=name).model.global_bias == get(name).global_bias >= 0


@pytest.mark.parametrize(
    ("advice", "line"),
    [
        ({"blnd": "taper"}, "setting blnd: unknown; did you mean blend?"),
        ({"device": "cuda"}, "setting device: unknown"),  # of the machine, not of the model
        ({"bands": "1,2,3"}, "setting bands: unknown"),  # of the scene
        ({"background": "clutter"}, "--background clutter: choose one of competing, distractors, threshold"),
        ({"good_gsd": [1]}, "good_gsd [1]: need two numbers of metres"),
        ({"good_gsd": [2, 1]}, "need two numbers of metres"),
        ({"blend": "best"}, "--blend best: choose one of mean, taper"),
        ({"stride": "half"}, "--stride 'half': need a whole number"),
        ({"antialias": 1}, "--antialias 1: need true or false"),
        ("{", "segearth.json"),
    ],
)
def test_advice_that_cannot_be_meant_is_the_models_fault(settings, advice, line):
    with pytest.raises(WeightsError) as caught:
        settings(advice)
    assert line in str(caught.value)
    assert "segearth.json" in str(caught.value)


@pytest.mark.parametrize("window", [1, 15, 8193, 10**9])
def test_a_window_below_a_patch_or_beyond_any_memory_is_refused(settings, window):
    with pytest.raises(UsageError, match=f"--window {window}: need 16 .a patch of the model. to 8192 px"):
        settings({}, window=window)
    assert settings({}, window=16).options.window == 16
