"""A model small enough for hundreds of windows a second, and scenes to run it on."""

import json

import numpy as np
import open_clip
import rasterio
import torch
from rasterio.transform import from_origin
from safetensors.torch import save_file

CONFIG = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
}


def save_model(folder):
    """A random CLIP of 64 px windows in open_clip's folder layout."""
    folder.mkdir(parents=True)
    preprocess = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": preprocess}))
    torch.manual_seed(5)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


def save_scene(path, height=700, width=900, *, bands=3, seed=0, dtype="uint8", holes=(), **profile):
    """A scene of soft noise with a georeference; holes: (row, col, height, width) that hold nodata."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((bands, height // 16 + 2, width // 16 + 2), np.float32).repeat(16, 1).repeat(16, 2)
    pixels = coarse[:, :height, :width] * 200 + rng.random((bands, height, width), np.float32) * 50 + 1
    for row, col, rows, cols in holes:
        pixels[:, row : row + rows, col : col + cols] = profile.get("nodata", 0)
    settings = {
        "driver": "GTiff", "crs": "EPSG:32633", "transform": from_origin(400_000.1, 5_000_000.3, 0.3, 0.3),
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "photometric": "RGB",
    }  # fmt: skip
    with rasterio.open(path, "w", height=height, width=width, count=bands, dtype=dtype, **settings | profile) as ds:
        ds.write(pixels.astype(dtype))
    return path
