"""Text embeddings: what they are, and that keeping them changes nothing."""

from dataclasses import replace

import noise
import numpy as np
import open_clip
import pytest
import tiny
import torch
from conftest import SHARED
from safetensors.torch import save_file
from shell import python

import segearth_cli
from segearth_cli.errors import WeightsError
from segearth_cli.model.phrases import embed_phrases
from segearth_cli.weights.load import load_clip
from segearth_cli.weights.phrase_cache import phrase_embeddings

PARITY = SHARED / "parity"
PHRASES = ["water", "a very long phrase about bare soil beside the road", "building", "water", "Straße"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return load_clip(str(tiny.model(tmp_path_factory.mktemp("tiny"))))


def embed(clip, phrases, cache, *, asked=None):
    """The embeddings; `asked` collects the texts that the model had to read."""

    def tokenizer(texts):
        if asked is not None:
            asked.extend(texts)
        return clip.tokenizer(texts)

    return phrase_embeddings(replace(clip, words=lambda: tokenizer), phrases, cache)


def test_the_tokenizer_asks_for_no_weights(tmp_path):
    """What a description tells is counted in every run; building the model for it took longer than a small mask."""
    folder = tiny.model(tmp_path / "tiny")
    clip = load_clip(str(folder))
    (folder / "open_clip_model.safetensors").unlink()
    assert clip.tokenizer(["water"]).shape == (1, 77)
    with pytest.raises(WeightsError):
        _ = clip.model


@pytest.mark.slow
def test_a_model_whose_phrases_are_kept_runs_without_open_clip(tmp_path):
    """Its import, with torchvision and timm, takes longer than a small mask."""
    folder, scene = tiny.model(tmp_path / "tiny", seed=7), noise.save_scene(tmp_path / "scene.tif", 64, 64)
    code = (
        "import sys, segearth_cli\n"
        "mask = segearth_cli.predict(sys.argv[1], classes='water,road', model=sys.argv[2], quiet=True)\n"
        "print(mask.array.shape, *sorted({'open_clip', 'torchvision', 'timm'} & sys.modules.keys()))"
    )
    segearth_cli.predict(scene, "water,road", model=str(folder), quiet=True)  # keeps the phrases
    assert python(code, scene, folder).stdout.splitlines()[-1] == "(64, 64)"


def test_reading_up_to_the_end_of_text_gives_what_reading_all_positions_gives(clip):
    whole = embed_phrases(clip.model, clip.tokenizer, PHRASES, open_clip.OPENAI_IMAGENET_TEMPLATES)
    torch.testing.assert_close(embed(clip, PHRASES, None), whole, atol=1e-6, rtol=0)


def test_the_model_is_left_as_it_was(clip):
    before = clip.model.positional_embedding.shape, clip.model.attn_mask.shape
    embed(clip, PHRASES, None)
    assert (clip.model.positional_embedding.shape, clip.model.attn_mask.shape) == before


def test_embeddings_are_unit_float32_rows_in_the_order_of_the_phrases(clip, tmp_path):
    rows = embed(clip, PHRASES, tmp_path)
    assert rows.shape == (5, tiny.CHANNELS)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(5))
    assert torch.equal(rows[0], rows[3])
    assert torch.equal(embed(clip, PHRASES[::-1], tmp_path), rows.flip(0))


def test_kept_embeddings_are_the_computed_ones_to_the_bit_whatever_stood_beside_them(clip, tmp_path):
    computed = embed(clip, PHRASES, None)
    assert torch.equal(embed(clip, PHRASES[:2], tmp_path), computed[:2])
    assert torch.equal(embed(clip, PHRASES, tmp_path), computed)
    assert torch.equal(embed(clip, PHRASES, tmp_path), computed)


def test_only_phrases_that_are_not_kept_are_read(clip, tmp_path):
    embed(clip, ["water"], tmp_path)
    asked = []
    embed(clip, ["water", "road", "road"], tmp_path, asked=asked)
    assert len(asked) == 80
    assert all("road" in text for text in asked)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        lambda path: path.write_bytes(path.read_bytes()[:-4] + b"\0\0\x80\x3e"),
        lambda path: save_file({"embedding": torch.ones(tiny.CHANNELS) / 4}, path),
        lambda path: save_file({"other": torch.ones(tiny.CHANNELS) / 4}, path),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_spoiled_file_is_made_again(clip, tmp_path, spoil):
    computed = embed(clip, ["water"], tmp_path)
    (path,) = tmp_path.rglob("*.safetensors")
    spoil(path)
    assert torch.equal(embed(clip, ["water"], tmp_path), computed)


def test_the_same_weights_with_another_activation_share_nothing(tmp_path):
    quick = load_clip(str(tiny.model(tmp_path / "quick")))
    plain = load_clip(str(tiny.model(tmp_path / "plain", quick_gelu=False)))
    assert quick.sha256 == plain.sha256
    rows = [embed(clip, ["water"], tmp_path / "cache") for clip in (quick, plain)]
    assert not torch.equal(*rows)
    assert torch.equal(rows[1], embed(plain, ["water"], None))


def test_a_cache_that_cannot_be_written_does_not_matter(clip, tmp_path):
    (tmp_path / "file").write_text("no folder")
    assert torch.equal(embed(clip, ["water"], tmp_path / "file"), embed(clip, ["water"], None))


@pytest.mark.parametrize("case", ["crop_only", "sliding"])
@pytest.mark.skipif(not PARITY.is_dir(), reason="parity cases are not here")
def test_the_embeddings_of_the_authors_code_are_met(case):
    clip = load_clip(f"local-dir:{PARITY / case / 'model'}")
    lines = (PARITY / case / "classes.txt").read_text().splitlines()
    phrases = [phrase.strip() for line in lines if line.strip() for phrase in line.split(",")]
    expected = torch.from_numpy(np.load(PARITY / case / "expected.npz")["text_features"])
    torch.testing.assert_close(embed(clip, phrases, None), expected, atol=1e-6, rtol=0)
