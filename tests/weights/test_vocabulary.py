"""Words that a model has never seen: named before work starts, each with the nearest that it has."""

import pytest

from segearth_cli.errors import nearest
from segearth_cli.weights.vocabulary import never_seen, unknown_words


def test_words_outside_a_vocabulary_are_named_once_in_order():
    known = frozenset({"water", "bare", "soil", "of"})
    assert unknown_words(["Bare-Soil", "body of WATER", "étang 2", "body"], known) == ("body", "étang")
    assert unknown_words(["water", "bare soil"], known) == ()


def test_a_mistyped_word_is_told_with_the_one_that_was_meant(model_dir, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in model_dir.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "vocabulary.txt").write_text("water\nroof\nbare\nsoil\n")
    told = never_seen(str(folder), ["watre", "ROOF", "bare soyl", "pagoda"])
    assert told.endswith("has never seen: watre (water?), soyl (soil?), pagoda; its guess for them means little")
    assert never_seen(str(folder), ["water", "bare soil"]) is None
    assert never_seen(str(model_dir), ["watre"]) is None  # which lists no words


@pytest.mark.parametrize(
    ("typed", "known", "meant"),
    [
        ("WATRE", ["road", "Water"], "Water"),
        ("raod", ["road", "water"], "road"),
        ("lake", ["road", "water"], None),
        ("cloud", ["flood"], None),
        ("volcano", ["ocean"], None),
        ("a", [], None),
    ],
)
def test_the_nearest_name_is_found_whatever_its_case(typed, known, meant):
    assert nearest(typed, known) == meant
