"""Tensors to tensors: chips through CLIP's tower and SimFeatUp to logits of phrases.

The encoder modulates the last block of a ViT, the upsampler lifts tokens to pixels steered by the image, the segmenter
puts both together and keeps what overlapping windows share.
Knows no file, no path, no network and prints nothing.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.model.attention import Attention
    from segearth_cli.model.encoder import Encoder, embed_phrases
    from segearth_cli.model.segmenter import Segmenter, coordinates
    from segearth_cli.model.upsampler import JBU, Dense, Upsampler
    from segearth_cli.model.window_cache import Overlap

__all__ = ["JBU", "Attention", "Dense", "Encoder", "Overlap", "Segmenter", "Upsampler", "coordinates", "embed_phrases"]

__getattr__ = lazy_face(
    __name__,
    {
        "attention": "Attention",
        "encoder": "Encoder embed_phrases",
        "segmenter": "Segmenter coordinates",
        "upsampler": "JBU Dense Upsampler",
        "window_cache": "Overlap",
    },
)
