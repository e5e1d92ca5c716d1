"""The one tiny model of the tests, and upsamplers for it: random weights, written as people publish theirs."""

import json

import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from segearth_cli.model.encoder import Encoder
from segearth_cli.model.segmenter import Segmenter
from segearth_cli.model.upsampler import Upsampler

CHANNELS, PATCH, WINDOW = 32, 16, 64
CONFIG = {
    "model_cfg": {
        "embed_dim": CHANNELS,
        "quick_gelu": True,
        "vision_cfg": {"image_size": WINDOW, "layers": 2, "width": 64, "head_width": 32, "patch_size": PATCH},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
}


def clip(*, seed=0, **config):
    """An open_clip model with random weights; config: changes to CONFIG's model_cfg."""
    torch.manual_seed(seed)
    made = open_clip.CLIP(**CONFIG["model_cfg"] | config)
    with torch.no_grad():  # random phrases lie close together; wider logits give masks with several classes
        made.text_projection.mul_(10)
        made.token_embedding.weight.mul_(20)
    return made


def model(folder, *, seed=0, **config):
    """A folder in open_clip's layout that holds `clip` in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    document = CONFIG | {"model_cfg": CONFIG["model_cfg"] | config}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    state = {name: value.half().contiguous() for name, value in clip(seed=seed, **config).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def upsampler(*, seed=0, channels=CHANNELS, patch=PATCH, **options):
    """An upsampler whose parameters are all random, in eval mode."""
    torch.manual_seed(seed)
    made = Upsampler(channels, patch, **options).eval()
    for parameter in made.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 0.4)
    return made


def segmenter(*, phrases=3, patch=PATCH, radius=2, keys=4, **options):
    """A segmenter of the tiny model and its upsampler for random phrases; options: of Segmenter."""
    vision = CONFIG["model_cfg"]["vision_cfg"] | {"patch_size": patch, "image_size": 4 * patch}
    preprocess = CONFIG["preprocess_cfg"]
    encoder = Encoder(clip(vision_cfg=vision).eval(), preprocess["mean"], preprocess["std"])
    text = F.normalize(torch.randn(phrases, CHANNELS, generator=torch.manual_seed(1)), dim=-1)
    made = Segmenter(encoder, upsampler(patch=patch, radius=radius, keys=keys), text, **options)
    return made.requires_grad_(False)
