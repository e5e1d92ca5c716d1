"""What is asked of a model for phrases, their means, sentences and templates: laws over the tiny model."""

import open_clip
import pytest
import tiny
import torch
import torch.nn.functional as F

from segearth_cli.classes import parse, read, with_rest, with_synonyms
from segearth_cli.errors import UsageError
from segearth_cli.model.phrases import embed_phrases
from segearth_cli.weights import ModelOptions, assemble
from segearth_cli.weights.load import load_clip
from segearth_cli.weights.phrase_cache import phrase_embeddings
from segearth_cli.weights.templates import read_templates

WORDS = "water|river|lake,building|roof,tree"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny.model(tmp_path_factory.mktemp("tiny")))


def vectors(folder, classes, **options):
    return assemble(ModelOptions(folder, device="cpu", precision="fp32", **options), classes).segmenter.phrases


def listed(tmp_path, text):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    return read(path)


def test_with_max_each_phrase_is_asked_for_and_with_mean_each_class_once(folder):
    classes = parse(WORDS)
    each, mean = vectors(folder, classes), vectors(folder, with_synonyms(classes, "mean"))
    assert classes.query_class == (0, 0, 0, 1, 1, 2)
    assert with_synonyms(classes, "mean").query_class == (0, 1, 2)
    assert with_synonyms(classes, "mean").synonyms == ("mean", "mean", "max")  # of one phrase there is no mean
    own = [each[[q for q, code in enumerate(classes.query_class) if code == k]] for k in range(3)]
    torch.testing.assert_close(mean, torch.stack([F.normalize(rows.mean(0), dim=0) for rows in own]))


def test_the_mean_of_one_phrase_is_that_phrase_and_repeating_phrases_changes_nothing(folder):
    one, thrice = (with_synonyms(parse(words), "mean") for words in ("water,tree", "water|water|water,tree"))
    assert torch.equal(vectors(folder, one), vectors(folder, parse("water,tree")))
    torch.testing.assert_close(vectors(folder, one), vectors(folder, thrice))


def test_a_description_is_asked_for_as_it_stands_beside_the_phrases_of_its_class(folder, tmp_path):
    sentence = "A roof with straight edges, seen from above."
    described = listed(tmp_path, f"water\nbuilding, roof; description: {sentence}\n")
    assert described.query_class == (0, 1, 1, 1)
    clip = load_clip(folder)
    alone = embed_phrases(clip.model, clip.tokenizer, [sentence], [str])
    found = vectors(folder, described)
    torch.testing.assert_close(found[3], alone[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(found[:3], vectors(folder, parse("water,building|roof")))
    mean = listed(tmp_path, f"water\nbuilding, roof; description: {sentence}; synonyms: mean\n")
    torch.testing.assert_close(vectors(folder, mean)[1], F.normalize(found[1:].mean(0), dim=0))


def test_a_description_that_is_too_long_for_the_model_is_told(folder, tmp_path):
    told = []
    classes = listed(tmp_path, f"water\nroof; description: {'very ' * 90}long\n")
    assemble(ModelOptions(folder, device="cpu"), classes, told.append)
    assert any("reads the beginning of the description" in line for line in told)


def test_a_background_that_only_the_threshold_gives_asks_for_nothing(folder):
    classes = with_rest(parse("water,tree"), "threshold")
    assert classes.query_class == (1, 2)
    assert torch.equal(vectors(folder, classes), vectors(folder, parse("water,tree")))


@pytest.mark.slow
def test_templates_are_those_that_are_named(folder, tmp_path):
    clip, classes = load_clip(folder), parse(WORDS)
    file = tmp_path / "templates.txt"
    file.write_text("# of maps\na satellite image of {}.\n\n{} seen from above\n")
    for name, functions in {
        "80": open_clip.OPENAI_IMAGENET_TEMPLATES,
        "7": open_clip.SIMPLE_IMAGENET_TEMPLATES,
        str(file): ["a satellite image of {}.".format, "{} seen from above".format],
    }.items():
        expected = embed_phrases(clip.model, clip.tokenizer, classes.queries, functions)
        found = vectors(folder, classes, templates=read_templates(name))
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_kept_embeddings_of_other_templates_are_not_taken(folder, tmp_path):
    clip = load_clip(folder)
    sets = [("80",), ("7",), ("{}",), ("a {}.",)]
    made = [phrase_embeddings(clip, ["water"], tmp_path, which) for which in sets]
    again = [phrase_embeddings(clip, ["water"], tmp_path, which) for which in sets]
    assert all(torch.equal(a, b) for a, b in zip(made, again, strict=True))
    assert len({tuple(row[0].tolist()) for row in made}) == len(sets)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "cannot be read"),
        ("", "0 templates, need 1 to 1000"),
        ("a photo\n", "'a photo': need {} once"),
        ("{} and {}\n", "need {} once"),
        (b"\xff{}", "not UTF-8 text"),
    ],
)
def test_a_file_without_templates_is_told_with_what_is_needed(tmp_path, text, line):
    path = tmp_path / "templates.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as caught:
        read_templates(str(path))
    assert line in str(caught.value)
    assert str(caught.value).startswith(f"--templates {path}: ")


def test_templates_from_python_are_checked_too():
    assert ModelOptions("mini", templates=("an image of {}.",)).templates == ("an image of {}.",)
    with pytest.raises(UsageError, match="need {} once"):
        ModelOptions("mini", templates=("an image",))
