"""Weight files: read without running code from them, and put into a module whole or not at all."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from segearth_cli.cache import sha256
from segearth_cli.console import first_of
from segearth_cli.errors import WeightsError, first_line
from segearth_cli.texts import refuse_pipe

Net = TypeVar("Net", bound=nn.Module)

_RANDOM = {"normal_", "uniform_", "trunc_normal_", "xavier_uniform_", "kaiming_uniform_"}


def read_tensors(path: Path, *, trusted: Collection[str] = ()) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a weight file, and safetensors' metadata.

    Takes .safetensors and torch's own files; wrappers `state_dict` and the prefix `module.` of parallel training are
    taken off. trusted: the SHA-256 of files that may be TorchScript. Raises WeightsError when the file is absent,
    damaged, or holds more than numbers.
    """
    refuse_pipe(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        tensors, metadata = _safetensors(path) if path.suffix == ".safetensors" else (_pickled(path, trusted), {})
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path}: damaged, or holds more than tensors, which is not read because it could run code; "
            "save the state dict alone, best as .safetensors"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, BadZipFile) as e:
        raise WeightsError(f"{path}: damaged, or no weight file: {first_line(e)}") from None
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors")
    return {name.removeprefix("module."): value for name, value in tensors.items()}, metadata


def filled(module: Net, tensors: Mapping[str, Tensor], path: Path, prefix: str = "") -> Net:
    """The module with every parameter and buffer taken from `tensors`, in float32, eval mode, without gradients.

    prefix: of the tensors' names, which the module's own are without. Raises WeightsError when one is missing, left
    over, of another shape, or not finite; path: for the message.
    """
    own = {prefix + name: value for name, value in module.state_dict().items()}
    lacking = [name for name in own if name not in tensors]
    unknown = [name for name in tensors if name not in own]
    misfits = [name for name in own if name in tensors and tensors[name].shape != own[name].shape]
    fitting = len(own) - len(lacking) - len(misfits)
    if 2 * fitting < len(own):
        raise WeightsError(f"{path}: weights of another model: {fitting} of {len(own)} tensors fit")
    if lacking or unknown or misfits:
        faults = (("lacks", lacking), ("has unknown", unknown), ("has another shape of", misfits))
        listed = "; ".join(f"{what} {first_of(names)}" for what, names in faults if names)
        raise WeightsError(f"{path}: does not fit the model: {listed}")
    # copies: a mapped file may change while it is used, and where it lies in memory changes how products round
    values = {n: tensors[n].to(torch.float32, copy=True) if own[n].is_floating_point() else tensors[n] for n in own}
    broken = [name for name, value in values.items() if not _finite(value)]
    if broken:
        raise WeightsError(f"{path}: damaged: values that are not finite in {first_of(broken)}")
    module.load_state_dict({n.removeprefix(prefix): value for n, value in values.items()}, strict=True, assign=True)
    return module.requires_grad_(False).eval()


class WithoutChance(TorchFunctionMode):
    """Modules built in this context keep what their memory holds where they would draw random numbers.

    For modules that are filled afterwards: drawing 150 million numbers for a ViT-B/16 takes seconds.
    """

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch calls this in place of `func`."""
        if getattr(func, "__name__", "") in _RANDOM:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as f:
            return {name: f.get_tensor(name) for name in f.keys()}, f.metadata() or {}  # noqa: SIM118
    except SafetensorError as e:
        raise ValueError(str(e)) from None


def _pickled(path: Path, trusted: Collection[str]) -> dict[str, Tensor]:
    content = _torchscript(path, trusted) if _is_torchscript(path) else torch.load(path, "cpu", weights_only=True)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise ValueError(f"holds a {type(content).__name__}, need a dictionary of tensors")
    return {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}


def _is_torchscript(path: Path) -> bool:
    if not is_zipfile(path):
        return False
    with ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _torchscript(path: Path, trusted: Collection[str]) -> dict[str, Tensor]:
    """The tensors of a TorchScript archive, the form in which OpenAI published CLIP; it holds code too."""
    if sha256(path) not in trusted:
        raise ValueError("a TorchScript archive, which holds code; need a state dict or .safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch means to drop TorchScript
        archive: Any = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return dict(archive.state_dict())


def _finite(value: Tensor) -> bool:
    # a sum is finite only if all its terms are, and ten times as fast; it overflows where they still may be
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())
