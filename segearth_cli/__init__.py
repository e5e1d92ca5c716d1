"""segearth: segment large georeferenced rasters into the classes you name.

import segearth_cli as segearth

mask = segearth.predict("scene.tif", "water|river,building|roof,forest")
"""

from typing import TYPE_CHECKING

from segearth_cli.version import __version__

if TYPE_CHECKING:
    from segearth_cli.api import Mask, calibrate, evaluate, open_scene, predict, preview, train_upsampler, vectorize
    from segearth_cli.classes import ClassSet
    from segearth_cli.errors import SegEarthError


__all__ = [
    "ClassSet",
    "Mask",
    "SegEarthError",
    "__version__",
    "calibrate",
    "evaluate",
    "open_scene",
    "predict",
    "preview",
    "train_upsampler",
    "vectorize",
]

_HOMES = {"ClassSet": "classes", "SegEarthError": "errors"}


def __getattr__(name: str) -> object:
    """A public name, imported when somebody asks for it: `import segearth_cli` itself loads nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
