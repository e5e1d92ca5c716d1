"""The activation that a CLIP was trained with: told where it matters, never the wrong one."""

import csv
import json
from functools import cache

import numpy as np
import open_clip
import pytest
import tiny
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from tiers import every
from torch import nn

from segearth_cli.weights import compare_activations, load_clip

SIDE = 32
SHADES = ["black", "charcoal", "slate", "grey", "silver", "pale", "white", "bright", "glaring"]
TINTS = {"red": (1, 0.7, 0.7), "green": (0.7, 1, 0.7), "blue": (0.7, 0.7, 1), "yellow": (1, 1, 0.7)}
CAPTIONS = [f"a {shade} field with a {tint} tint" for tint in TINTS for shade in SHADES]
CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": SIDE, "layers": 4, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def pictures(count, seed):
    """Fields (N, 3, S, S) whose shades and tints overlap a little, and the number of each one's caption."""
    rng = torch.Generator().manual_seed(seed)
    own = torch.randint(0, len(CAPTIONS), (count,), generator=rng)
    level = 40 + 22 * (own % len(SHADES)) + 6 * torch.randn(count, generator=rng)
    tints = torch.tensor(list(TINTS.values()))[own // len(SHADES)] + 0.05 * torch.randn(count, 3, generator=rng)
    fields = (level[:, None] * tints)[..., None, None] + 20 * torch.randn(count, 3, SIDE, SIDE, generator=rng)
    return fields.clamp(0, 255).to(torch.uint8), own


def trained(folder, *, quick, tails, seed, steps=300):
    """A folder with a CLIP trained on such fields.

    tails: every unit of its blocks works around -3.5, where QuickGELU is some ten times GELU, and counts for much.
    """
    torch.manual_seed(seed)
    config = CONFIG | {"quick_gelu": quick}
    model = open_clip.CLIP(**config)
    model.token_embedding.requires_grad_(False)  # the largest part by far, and random words are as good
    blocks = [m for m in model.modules() if isinstance(getattr(m, "gelu", None), nn.Module)] if tails else []
    with torch.no_grad():
        for block in blocks:
            block.c_fc.bias.fill_(-3.5)
            nn.init.normal_(block.c_fc.weight, std=0.5 / block.c_fc.in_features**0.5)
            block.c_proj.weight.mul_(1000)
            block.c_fc.requires_grad_(False)
    texts = open_clip.get_tokenizer("ViT-B-32", context_length=16)(CAPTIONS)
    free = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(free, 2e-3)
    for step in range(steps):
        fields, own = pictures(48, 1000 * seed + step)
        images = F.normalize(model.encode_image((fields.float() / 255 - 0.5) / 0.25), dim=-1)
        cosines = images @ F.normalize(model.encode_text(texts), dim=-1).T
        optimiser.zero_grad()
        F.cross_entropy(cosines * model.logit_scale.exp(), own).backward()
        nn.utils.clip_grad_norm_(free, 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.6)  # 100, as CLIP has it
    folder.mkdir()
    document = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


def compared(folder, count=400):
    fields, own = pictures(count, seed=99)
    return compare_activations(load_clip(str(folder)), fields, [CAPTIONS[number] for number in own])


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Models for which the activation matters, by that of training."""
    folder = tmp_path_factory.mktemp("told")
    return cache(lambda name: trained(folder / name, quick=name == "QuickGELU", tails=True, seed=0))


ACTIVATIONS = every(2, ["QuickGELU", "GELU"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_activation_of_training_is_told_where_it_matters_whatever_the_configuration_says(told, name, tmp_path):
    for said in (True, False):
        other = tmp_path / str(said)
        other.mkdir()
        document = json.loads((told(name) / "open_clip_config.json").read_text())
        document["model_cfg"]["quick_gelu"] = said
        (other / "open_clip_config.json").write_text(json.dumps(document))
        (other / "open_clip_model.safetensors").symlink_to(told(name) / "open_clip_model.safetensors")
        assert compared(other).answer == name


@pytest.mark.thorough
@pytest.mark.parametrize(("quick", "seed"), [(False, 0), (True, 1)], ids=["GELU", "QuickGELU"])
def test_small_models_to_which_it_is_all_one_name_none(tmp_path, quick, seed):
    found = compared(trained(tmp_path / "model", quick=quick, tails=False, seed=seed, steps=150))
    assert found.answer is None
    assert min(found.gelu.above_chance, found.quick_gelu.above_chance) > 3  # it has learned its pictures


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_few_pictures_tell_nothing_and_never_the_other_activation(told, name):
    assert compared(told(name), count=8).answer is None
    assert all(compared(told(name), count=count).answer in (None, name) for count in (20, 40, 80, 160))


@pytest.mark.slow
def test_a_model_that_does_not_know_the_pictures_names_none(model_dir, segearth):
    """Random weights, under which one activation may well agree better by chance."""
    assert compared_with_ours(segearth, model_dir)["answer"] is None
    assert "cannot tell: the model does not know these pictures" in segearth("models", "--activation", model_dir).out


def compared_with_ours(segearth, folder):
    return json.loads(segearth("models", "--activation", folder, "--json").out)


def test_the_model_is_left_as_it_was(model_dir):
    clip = load_clip(str(model_dir))
    texts = clip.tokenizer(["water"])
    with torch.no_grad():
        before = clip.model.encode_text(texts)
        compare_activations(clip, torch.zeros(2, 3, tiny.WINDOW, tiny.WINDOW, dtype=torch.uint8), ["water", "roof"])
        assert torch.equal(clip.model.encode_text(texts), before)


# a list of pictures


@pytest.fixture
def pairs(tmp_path):
    """pairs(rows) -> a CSV beside two pictures, a.png and b.png."""
    for name in "ab":
        Image.fromarray(np.full((40, 60, 3), ord(name), np.uint8)).save(tmp_path / f"{name}.png")

    def write(*rows):
        with (tmp_path / "pairs.csv").open("w", newline="") as f:
            csv.writer(f).writerows(rows)
        return tmp_path / "pairs.csv"

    return write


@pytest.mark.thorough
def test_pictures_of_a_users_list_count(told, segearth, tmp_path):
    fields, own = pictures(200, seed=99)
    for number, field in enumerate(fields):
        Image.fromarray(field.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    with (tmp_path / "pairs.csv").open("w", newline="") as f:
        csv.writer(f).writerows([("image", "caption"), *((f"{i}.png", CAPTIONS[k]) for i, k in enumerate(own))])
    listed = ("models", "--activation", told("GELU"), "--pairs", tmp_path / "pairs.csv")
    assert segearth(*listed).out.splitlines()[-1] == "GELU"
    found = json.loads(segearth(*listed, "--json").out)
    expected = compared(told("GELU"), count=200)
    assert (found["answer"], found["pictures"]) == ("GELU", 200)
    assert found["difference"] == pytest.approx(expected.difference, abs=1e-6)


def test_captions_of_one_picture_each_are_counted(pairs, model_dir, segearth):
    path = pairs(("image", "caption"), ("a.png", "water"), ("b.png", "roof"))
    assert "2 pictures, 2 captions" in segearth("models", "--activation", model_dir, "--pairs", path).out


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("image", "text"), ("a.png", "water")], "need a CSV with the columns image and caption"),
        ([("image", "caption"), ("a.png", "")], "need a CSV with the columns image and caption, both filled"),
        ([("image", "caption"), ("a.png", "water"), ("b.png", "water")], "all captions are the same; need two"),
        ([("image", "caption"), ("a.png", "water"), ("c.png", "roof")], "c.png"),
    ],
)
def test_a_list_that_cannot_be_used_is_one_line(pairs, model_dir, segearth, rows, says):
    done = segearth("models", "--activation", model_dir, "--pairs", pairs(*rows))
    assert done.code != 0
    assert says in done.err
    assert done.err.count("\n") == 1


def test_a_list_without_a_model_is_refused(pairs, segearth):
    done = segearth("models", "--pairs", pairs(("image", "caption")))
    assert done.code == 2
    assert "goes with --activation" in done.err
