"""Tensors to tensors: chips through CLIP's tower and SimFeatUp to logits of phrases.

The encoder modulates the last block of a ViT, the upsampler lifts tokens to pixels steered by the image, the segmenter
puts both together and keeps what overlapping windows share.
Knows no file, no path, no network, prints nothing, and leaves what it is given as it was.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.model.choices import LOGIT_SCALE, Attention, Kernels, Refine
    from segearth_cli.model.constants import constant
    from segearth_cli.model.cpu_stages import Direct, by_llvm, llvm_version
    from segearth_cli.model.device import devices, pick_device, pick_precision, slow_precision
    from segearth_cli.model.encoder import Encoder
    from segearth_cli.model.gpu_stages import Fused
    from segearth_cli.model.jbu import JBU
    from segearth_cli.model.phrases import Shortened, embed_phrases
    from segearth_cli.model.segmenter import Segmenter, coordinates
    from segearth_cli.model.tower import QuickGELU, Tower
    from segearth_cli.model.upsampler import Dense, Upsampler
    from segearth_cli.model.window_cache import Overlap

__all__ = [
    "JBU",
    "LOGIT_SCALE",
    "Attention",
    "Dense",
    "Direct",
    "Encoder",
    "Fused",
    "Kernels",
    "Overlap",
    "QuickGELU",
    "Refine",
    "Segmenter",
    "Shortened",
    "Tower",
    "Upsampler",
    "by_llvm",
    "constant",
    "coordinates",
    "devices",
    "embed_phrases",
    "llvm_version",
    "pick_device",
    "pick_precision",
    "slow_precision",
]

__getattr__ = lazy_face(
    __name__,
    {
        "choices": "LOGIT_SCALE Attention Kernels Refine",
        "constants": "constant",
        "cpu_stages": "Direct by_llvm llvm_version",
        "device": "devices pick_device pick_precision slow_precision",
        "encoder": "Encoder",
        "gpu_stages": "Fused",
        "jbu": "JBU",
        "phrases": "Shortened embed_phrases",
        "segmenter": "Segmenter coordinates",
        "tower": "QuickGELU Tower",
        "upsampler": "Dense Upsampler",
        "window_cache": "Overlap",
    },
)
