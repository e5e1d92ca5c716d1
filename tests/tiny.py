"""Models and upsamplers small enough for tests, with random weights, written as people publish theirs."""

import json

import open_clip
import torch
from safetensors.torch import save_file

from segearth_cli.model.upsampler import Upsampler

CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
}


def model(folder, *, seed=0, **config):
    """An open_clip folder of a model with random weights in float16; config: changes to CONFIG's model_cfg."""
    folder.mkdir(parents=True, exist_ok=True)
    document = CONFIG | {"model_cfg": CONFIG["model_cfg"] | config}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    torch.manual_seed(seed)
    clip = open_clip.CLIP(**document["model_cfg"])
    save_file({k: v.half() for k, v in clip.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


def upsampler(*, seed=0, channels=16, patch=8, **options):
    """An upsampler whose parameters are all random, in eval mode."""
    torch.manual_seed(seed)
    made = Upsampler(channels, patch, **options).eval()
    for parameter in made.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 0.4)
    return made
