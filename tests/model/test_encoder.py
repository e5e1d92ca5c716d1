"""The encoder against its parts written out: positions, attention maps, projection."""

import open_clip
import pytest
import tiny
import torch
import torch.nn.functional as F

from segearth_cli.errors import WeightsError
from segearth_cli.model.encoder import Encoder, resize_positions
from segearth_cli.model.phrases import embed_phrases

CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # float32, sums in another order


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    made = open_clip.CLIP(**tiny.CONFIG["model_cfg"]).eval().requires_grad_(False)
    for parameter in made.visual.parameters():  # biases and norms start at 0 and 1, which would hide a term left out
        parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def encoder(clip, attention="segearth"):
    return Encoder(clip, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), attention=attention)


@torch.inference_mode()
def test_training_features_are_the_input_of_the_last_block(clip):
    seen = []
    hook = clip.visual.transformer.resblocks[-1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.randn(1, 3, 64, 64, generator=torch.manual_seed(1))
    clip.visual(x)
    hook.remove()
    expected = (clip.visual.ln_post(seen[0]) @ clip.visual.proj)[:, 1:].transpose(1, 2).reshape(1, -1, 4, 4)
    torch.testing.assert_close(encoder(clip).training_features(x), expected, **CLOSE)


def test_positions_of_the_models_own_grid_are_left_alone():
    embedding = torch.randn(17, 8)
    assert torch.equal(resize_positions(embedding, (4, 4), (4, 4)), embedding)


@pytest.mark.parametrize("grid", [(1, 1), (3, 7), (4, 5), (9, 4), (28, 28), (37, 14)], ids=str)
def test_positions_are_resized_as_the_authors_do(grid):
    embedding = torch.randn(1 + 14 * 14, 8, generator=torch.manual_seed(0))
    resized = resize_positions(embedding, (14, 14), grid)
    assert torch.equal(resized[0], embedding[0])  # the global token has no place
    maps = embedding[1:].T.reshape(1, 8, 14, 14)
    factors = [(n + 0.1) / 14 for n in grid]
    expected = F.interpolate(maps, scale_factor=factors, mode="bicubic", align_corners=False)
    torch.testing.assert_close(resized[1:], expected[0].flatten(1).T)


@pytest.mark.parametrize("own", [7, 14, 16])
def test_every_grid_up_to_a_large_window_has_positions(own):
    embedding = torch.zeros(1 + own * own, 1)
    for n in range(1, 129):
        assert len(resize_positions(embedding, (own, own), (n, 2))) == 1 + 2 * n


def test_pixels_without_data_take_the_mean_colour(clip):
    chips = torch.full((1, 3, 16, 16), 200, dtype=torch.uint8)
    valid = torch.zeros(1, 16, 16, dtype=torch.bool)
    valid[:, :8] = True
    x = encoder(clip).normalise(chips, valid)
    assert (x[:, :, 8:] == 0).all()
    assert torch.allclose(x[0, :, 0, 0], (200 / 255 - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.2, 0.3, 0.4]))


def test_a_phrase_is_the_mean_of_its_templates(clip):
    tokenizer = open_clip.SimpleTokenizer()
    templates = [lambda c: f"a photo of {c}.", lambda c: f"{c} from above."]
    made = embed_phrases(clip, tokenizer, ["water", "roof"], templates)
    units = [F.normalize(clip.encode_text(tokenizer([t("roof")])), dim=-1)[0] for t in templates]
    torch.testing.assert_close(made[1], F.normalize((units[0] + units[1]) / 2, dim=0))


def test_a_tower_that_is_no_plain_vit_is_told():
    config = tiny.CONFIG["model_cfg"] | {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16}}
    with pytest.raises(WeightsError, match="not a plain ViT with a class token"):
        encoder(open_clip.CLIP(**config))
