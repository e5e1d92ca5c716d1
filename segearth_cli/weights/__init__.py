"""Names to a model that runs: what `--model` and `--upsampler` mean, where their files lie, how they come here.

The catalogue knows the published weights, `locate` finds them on this machine without torch, `load` reads and checks
them, `downloads` is the only place of this package's that asks the network, `assembly` puts all of it on a device.
Knows no scene.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.weights.activation import compare_activations
    from segearth_cli.weights.assembly import Assembled, Described, assemble, describe_model
    from segearth_cli.weights.catalogue import AUTHORS, CATALOGUE, PUBLISHED
    from segearth_cli.weights.downloads import download
    from segearth_cli.weights.load import Clip, load_clip, load_upsampler, save_upsampler
    from segearth_cli.weights.locate import (
        CONFIG,
        MINI,
        SETTINGS,
        UPSAMPLER,
        Choice,
        advice,
        choose,
        good_gsd,
        here,
        image_facts,
        kept,
        weight_file,
    )
    from segearth_cli.weights.options import ModelOptions, Precision
    from segearth_cli.weights.phrase_cache import phrase_embeddings
    from segearth_cli.weights.templates import template_functions
    from segearth_cli.weights.tensors import read_tensors
    from segearth_cli.weights.vocabulary import never_seen

__all__ = [
    "AUTHORS",
    "CATALOGUE",
    "CONFIG",
    "MINI",
    "PUBLISHED",
    "SETTINGS",
    "UPSAMPLER",
    "Assembled",
    "Choice",
    "Clip",
    "Described",
    "ModelOptions",
    "Precision",
    "advice",
    "assemble",
    "choose",
    "compare_activations",
    "describe_model",
    "download",
    "good_gsd",
    "here",
    "image_facts",
    "kept",
    "load_clip",
    "load_upsampler",
    "never_seen",
    "phrase_embeddings",
    "read_tensors",
    "save_upsampler",
    "template_functions",
    "weight_file",
]

__getattr__ = lazy_face(
    __name__,
    {
        "activation": "compare_activations",
        "assembly": "Assembled Described assemble describe_model",
        "catalogue": "AUTHORS CATALOGUE PUBLISHED",
        "downloads": "download",
        "load": "Clip load_clip load_upsampler save_upsampler",
        "locate": "CONFIG MINI SETTINGS UPSAMPLER Choice advice choose good_gsd here image_facts kept weight_file",
        "options": "ModelOptions Precision",
        "phrase_cache": "phrase_embeddings",
        "templates": "template_functions",
        "tensors": "read_tensors",
        "vocabulary": "never_seen",
    },
)
