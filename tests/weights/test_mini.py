"""The embedded model: that what ships loads as it is, is small enough, and says map words apart."""

import math
from itertools import combinations

import open_clip
import pytest
import tiny
import torch

from segearth_cli.cache import sha256
from segearth_cli.model.phrases import embed_phrases
from segearth_cli.prediction import resolve_settings
from segearth_cli.weights.load import load_clip, load_upsampler
from segearth_cli.weights.locate import MINI, choose, image_facts

NEON = MINI.parents[2] / "sample_tiles" / "neon_osbs_01m.tif"
COVERS = ("water", "building", "road", "forest", "cropland", "bare soil")


@pytest.fixture(scope="module")
def clip():
    model = open_clip.create_model(f"local-dir:{MINI}").eval().float()  # strict: every tensor has its place
    return model, open_clip.get_tokenizer(f"local-dir:{MINI}")


def test_the_folder_fits_the_wheel():
    assert sum(f.stat().st_size for f in MINI.iterdir()) <= 60e6


def test_its_own_simfeatup_is_used_and_has_the_same_name_on_every_machine():
    choice = choose("mini", None)
    assert choice.upsampler == "mini"
    facts = image_facts("mini")
    made, digest = load_upsampler(
        "mini", channels=facts.channels, patch=facts.patch, model_sha256=load_clip("mini").sha256
    )
    assert digest == sha256(MINI / "upsampler.safetensors")
    assert all(parameter.isfinite().all() for parameter in made.parameters())


def test_it_alone_refines_where_classes_come_close_unless_told_otherwise(tmp_path):
    words = {"classes": "water,building", "model": "mini"}
    assert resolve_settings(words).model.refine == "adaptive"
    assert resolve_settings(words | {"refine": "exact"}).model.refine == "exact"
    assert resolve_settings(words | {"threshold": 0.2}).model.refine == "exact"
    published = {"classes": "water,building", "model": f"local-dir:{tiny.model(tmp_path / 'model')}"}
    assert resolve_settings(published).model.refine == "exact"


def test_every_weight_is_a_number(clip):
    assert all(math.isfinite(float(p.detach().abs().max())) for p in clip[0].parameters())


def test_ground_covers_are_different_directions_and_synonyms_the_same(clip):
    phrases = [*COVERS, "woodland", "farmland", "buildings"]
    embedded = dict(zip(phrases, embed_phrases(*clip, phrases, [lambda c: f"a photo of {c}."]), strict=True))
    assert max(float(embedded[a] @ embedded[b]) for a, b in combinations(COVERS, 2)) < 0.9
    for word, synonym in (("forest", "woodland"), ("cropland", "farmland"), ("building", "buildings")):
        closest = max(COVERS, key=lambda c: float(embedded[c] @ embedded[synonym]))
        assert closest == word


def test_the_vocabulary_names_the_words_for_ground_covers():
    words = set((MINI / "vocabulary.txt").read_text().split())
    assert {part for cover in COVERS for part in cover.split()} <= words


@pytest.mark.thorough
def test_the_mask_is_the_same_to_the_bit_on_few_cores_and_on_many(segearth, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "segearth_cli.model.encoder.NARROW", 0
    )  # a tower in bfloat16, whose products round by the threads
    threads, found = torch.get_num_threads(), []
    for cores, at_once in ((1, "auto"), (3, "auto"), (3, "1")):
        torch.set_num_threads(cores)
        written = tmp_path / f"{cores}{at_once}.tif", tmp_path / f"{cores}{at_once}_confidence.tif"
        options = ("--precision", "bf16", "--device", "cpu", "--batch-size", at_once, "--confidence", written[1])
        try:
            done = segearth("predict", NEON, "--classes", ",".join(COVERS), "--out", written[0], *options)
        finally:
            torch.set_num_threads(threads)
        assert done.code == 0
        found.append([path.read_bytes() for path in written])
    assert found[0] == found[1] == found[2]
