"""The image tower from its configuration alone, held to open_clip's own, which is the reference."""

import copy

import open_clip
import pytest
import tiny
import torch

from segearth_cli.errors import WeightsError
from segearth_cli.model.encoder import Encoder
from segearth_cli.model.tower import Tower

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
VISION = tiny.CONFIG["model_cfg"]["vision_cfg"]
FORMS = {
    "plain": {},
    "of three blocks with narrow heads": {"layers": 3, "head_width": 16},
    "with layer scale": {"ls_init_value": 0.1},
    "without a first norm": {"no_ln_pre": True},
    "with a flat MLP": {"mlp_ratio": 2.5},
    "of another patch": {"patch_size": 8, "image_size": 32},
    "of images that are not square": {"image_size": [48, 80]},
    "with fixed positions": {"pos_embed_type": "sin_cos_2d"},
    "with norms of another epsilon": {"norm_kwargs": {"eps": 1e-3}},
    "with settings of training": {"patch_dropout": 0.5, "pool_type": "avg", "final_ln_after_pool": True},
}


def both(*, quick, **vision):
    """open_clip's model with random weights everywhere, and our tower with the same."""
    config = tiny.CONFIG["model_cfg"] | {"quick_gelu": quick, "vision_cfg": VISION | vision}
    reference = open_clip.CLIP(**copy.deepcopy(config)).eval()
    for parameter in reference.visual.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tower = Tower(config)
    tower.load_state_dict(reference.visual.state_dict(), strict=True, assign=True)
    return reference, tower.eval()


class Only:
    """What has an image tower and nothing else."""

    def __init__(self, visual):
        self.visual = visual


@pytest.mark.parametrize("quick", [True, False], ids=["QuickGELU", "GELU"])
@pytest.mark.parametrize("form", FORMS)
@torch.inference_mode()
def test_tokens_are_those_of_open_clips_tower_to_the_bit(form, quick):
    reference, tower = both(quick=quick, **FORMS[form])
    images = torch.randn(2, 3, *tower.image_size, generator=torch.manual_seed(1))
    expected, found = (Encoder(clip, MEAN, STD, keep_residual=True)(images) for clip in (reference, Only(tower)))
    assert all(map(torch.equal, found, expected))


@torch.inference_mode()
def test_a_whole_tower_gives_open_clips_image_embedding():
    reference, tower = both(quick=True)
    images = torch.randn(3, 3, *tower.image_size, generator=torch.manual_seed(1))
    token, _ = Encoder(Only(tower), MEAN, STD, attention="vanilla", keep_residual=True)(images)
    torch.testing.assert_close(token, reference.encode_image(images), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    "vision",
    [
        {"attentional_pool": True},
        {"qk_norm": True},
        {"block_type": "custom"},
        {"scale_fc": True},
        {"layers": [3, 4, 6, 3]},
        {"timm_model_name": "resnet50"},
        {"rotary": True},
    ],
    ids=str,
)
def test_another_tower_is_refused_by_the_name_of_what_differs(vision):
    with pytest.raises(WeightsError, match=rf"vision_cfg\.{next(iter(vision))} .*choose an open_clip ViT"):
        Tower(tiny.CONFIG["model_cfg"] | {"vision_cfg": VISION | vision})
