"""Models of other makers: `--model python:MODULE:FACTORY`, any function from chips to a number a class and pixel.

FACTORY is called once with those of `phrases`, `classes`, `class_set` and `device` that it names, and gives the model,
which is called with chips (B, 3, S, S), uint8 RGB, and, where it takes a second argument, with where they have data
(B, S, S), or None for everywhere. It returns a number for each phrase and pixel, (B, Q, S, S), or for each class.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from segearth_cli.cache import sha256
from segearth_cli.classes import ClassSet
from segearth_cli.errors import UsageError, WeightsError, first_line
from segearth_cli.model import LOGIT_SCALE
from segearth_cli.raster import from_strangers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PREFIX = "python:"
NATIVE = 224  # px, of plugs that do not say
_NEVER = -1e4  # a logit whose probability is 0 in float32, and which can still be averaged
_LEAST = 1e-12  # probability


class Plug:
    """A factory that a --model names, imported, and what it says of itself.

    Raises UsageError for a name that cannot be meant and where strangers' rasters are read, WeightsError for a module
    or factory that is not there.
    """

    def __init__(self, spec: str):
        if from_strangers():
            raise UsageError(f"--model {spec}: Python code, which --untrusted refuses; name another model")
        name, _, factory = spec.removeprefix(PREFIX).rpartition(":")
        if not name or not factory:
            raise UsageError(f"--model {spec}: need python:MODULE:FACTORY, e.g. python:mine:segmenter, or a .py file")
        self.spec, self.module = spec, _module(spec, name)
        self.factory = getattr(self.module, factory, None)
        if not callable(self.factory):
            raise WeightsError(f"--model {spec}: {self.module.__file__} has no function {factory}")
        self.window = self._number("window", NATIVE)
        self.multiple = self._number("multiple", 1)

    def facts(self) -> dict[str, Any]:
        """What a mask's provenance says of it: its file's hash, and its module's version where it has one."""
        version = getattr(self.module, "__version__", None)
        return {
            "model": self.spec,
            "model_sha256": sha256(Path(str(self.module.__file__))),
            **({"model_version": str(version)} if version is not None else {}),
        }

    def model(self, classes: ClassSet, device: torch.device) -> Plugged:
        """What segments chips (B, 3, S, S) with valid (B, S, S) or None: logits (B, Q, S, S), float32 on the device.

        Raises WeightsError when it cannot be made.
        """
        names = tuple(name for code, name in enumerate(classes.names) if code != classes.background)
        offered = {"phrases": classes.queries, "classes": names, "class_set": classes, "device": device}
        assert self.factory is not None
        try:
            wanted = inspect.signature(self.factory).parameters
            made = self.factory(**{name: value for name, value in offered.items() if name in wanted})
        except Exception as e:
            raise WeightsError(f"--model {self.spec}: cannot be made: {type(e).__name__}: {first_line(e)}") from e
        if not callable(made):
            raise WeightsError(f"--model {self.spec}: gives a {type(made).__name__}, need a function of chips")
        return Plugged(self.spec, made, classes, device)

    def _number(self, name: str, default: int) -> int:
        value = getattr(self.factory, name, default)
        if not isinstance(value, int) or value < 1:
            raise WeightsError(f"--model {self.spec}: its {name} is {value!r}, need a whole number of pixels from 1")
        return value


class Plugged:
    """A model of another maker as the windows' schedule calls one."""

    def __init__(self, spec: str, model: Any, classes: ClassSet, device: torch.device):
        self._spec, self._model, self._device = spec, model, device
        self._query_class = tuple(classes.query_class)
        every = tuple(range(len(classes)))
        listed = tuple(code for code in every if code != classes.background)
        self._codes = {len(listed): listed, len(every): every}
        self._probabilities = bool(getattr(model, "probabilities", False))
        self._valid_too = _takes_two(model)
        if hasattr(model, "eval"):
            model.eval()

    def __call__(self, chips: Tensor, valid: Tensor | None = None, _overlap: Any = None) -> Tensor:
        """Logits (B, Q, S, S) of chips (B, 3, S, S) with valid (B, S, S), None = everywhere."""
        import torch

        with torch.inference_mode():
            given = self._model(chips, valid) if self._valid_too else self._model(chips)
            if not isinstance(given, torch.Tensor):
                given = torch.as_tensor(given)
            values = given.to(self._device, torch.float32)
            b, _, *size = chips.shape
            queries = len(self._query_class)
            if values.ndim != 4 or values.shape[1] not in (queries, *self._codes) or values.shape != (
                b, values.shape[1], *size
            ):  # fmt: skip
                raise WeightsError(
                    f"--model {self._spec}: gives {tuple(values.shape)} for chips {tuple(chips.shape)}, need "
                    f"{(b, queries, *size)}, a number for each phrase and pixel, or one for each class: "
                    f"{' or '.join(map(str, self._codes))} in place of {queries}"
                )
            if self._probabilities:
                values = values.clamp(min=_LEAST).log() / LOGIT_SCALE
            return values if values.shape[1] == queries else self._by_phrase(values)

    def _by_phrase(self, values: Tensor) -> Tensor:
        """A class's number (B, C, S, S) at its first phrase, all other phrases never: (B, Q, S, S)."""
        spread = values.new_full((len(values), len(self._query_class), *values.shape[2:]), _NEVER)
        for at, code in enumerate(self._codes[values.shape[1]]):
            if code in self._query_class:
                spread[:, self._query_class.index(code)] = values[:, at]
        return spread


def _module(spec: str, name: str) -> ModuleType:
    try:
        if name.endswith(".py"):
            return _file_module(Path(name).expanduser().resolve())
        if (here := str(Path.cwd())) not in sys.path:  # as Python itself has it, which the script `segearth` has not
            sys.path.append(here)
        module = importlib.import_module(name)
    except Exception as e:
        raise WeightsError(f"--model {spec}: {name} cannot be imported: {type(e).__name__}: {first_line(e)}") from e
    if not getattr(module, "__file__", None):
        raise WeightsError(f"--model {spec}: {name} is no module with a file of its own")
    return module


def _file_module(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    name = f"segearth_plug_{sha256(path)[:16]}"
    if (known := sys.modules.get(name)) is not None:
        return known
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[found.name]
        raise
    return module


def _takes_two(model: Any) -> bool:
    """Whether a model takes `valid` beside chips."""
    called = model.forward if hasattr(model, "forward") else model
    try:
        inspect.signature(called).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # built in, says nothing
        return False
    return True
