"""A CUDA device that is none: its numbers are computed on the CPU; what a real one would wait for is counted.

A tensor on it says `cuda:0` and holds one of the CPU. An operation on such tensors counts as a launch, but for views; a
copy between host and card counts apart, as blocking where CUDA makes the thread wait for it.
"""

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

CARD, HOST = torch.device("cuda", 0), torch.device("cpu")
SDPA = torch.ops.aten.scaled_dot_product_attention.default  # one kernel on a card, many on a CPU
FREE = {"detach", "lift_fresh", "empty", "empty_like", "empty_strided", "new_empty", "alias", "_unsafe_view"}
# What hands a value of the card to the host, or checks one there.
WAITING = {"_local_scalar_dense", "nonzero", "equal", "_unique2", "unique_dim", "_linalg_check_errors", "masked_select"}


class OnCard(torch.Tensor):
    """A tensor of the card; `held` is that of the CPU."""

    @staticmethod
    def __new__(cls, held):
        with torch.inference_mode(False):  # may then be a view of a parameter, which is no tensor of inference
            made = cls._make_wrapper_subclass(
                cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
                layout=held.layout, device=CARD, requires_grad=held.requires_grad,
            )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch.DisableTorchFunctionSubclass():
            return func(*args, **kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} where no card is")


@dataclass
class Counts:
    """What was asked of the card."""

    launches: Counter = field(default_factory=Counter)
    """Operations by name."""
    blocking: int = 0
    """Copies that the host waits for, and other times it does."""
    free: int = 0
    """Copies that it does not wait for."""
    sent: int = 0
    """Bytes from the host."""

    @property
    def total(self):
        return sum(self.launches.values())


class Card(TorchDispatchMode):
    """Within the block there is a card."""

    def __init__(self, monkeypatch):
        super().__init__()
        self._counts, self._pinned = Counts(), []
        with FakeTensorMode():  # leaves a guard behind that serves devices which are not there
            pass
        monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
        monkeypatch.setattr(torch.cuda, "Event", _Event)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: None)
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: self._pin(tensor.clone()))
        monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)

    def taken(self):
        """The counts since the last time."""
        counts, self._counts = self._counts, Counts()
        return counts

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        pin = kwargs.pop("pin_memory", False)
        if func is not SDPA:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        tensors = []
        plain = _mapped((args, kwargs), lambda x: (tensors.append(x), x.held if isinstance(x, OnCard) else x)[1])
        on_card = [x for x in tensors if isinstance(x, OnCard)]
        asked = torch.device(kwargs.get("device") or (CARD if on_card else HOST))
        name = func.name().removeprefix("aten::").split(".")[0]
        made = func(*plain[0], **plain[1] | ({"device": HOST} if "device" in kwargs else {}))
        if name == "copy_" and len(tensors) == 2 and len(on_card) == 1:
            self._copied(tensors[1], plain[0][0], kwargs.get("non_blocking") or args[2:3] == (True,))
            return args[0]
        if name == "_to_copy" and bool(on_card) != (asked.type == "cuda"):
            self._copied(args[0], made, kwargs.get("non_blocking"))
            return made if on_card else OnCard(made)
        if asked.type == "cpu":
            return self._pin(made) if pin else made
        if name in WAITING or (name.startswith("index") and any(x.dtype == torch.bool for x in tensors)):
            self._counts.blocking += 1
        if not (func.is_view or name in FREE):
            self._counts.launches[name] += 1
        if name.endswith("_"):
            return args[0]
        return _mapped(made, OnCard)

    def _pin(self, made):
        self._pinned.append(made)  # held, so that no other tensor gets its place
        return made

    def _copied(self, source, made, promised):
        """Counts a copy between the two machines; made: the tensor of the CPU that the copy became."""
        onto = not isinstance(source, OnCard)
        place = (source if onto else made).untyped_storage().data_ptr()
        free = promised and any(place == pinned.untyped_storage().data_ptr() for pinned in self._pinned)
        self._counts.free += bool(free)
        self._counts.blocking += not free
        self._counts.sent += source.numel() * source.element_size() if onto else 0


def _mapped(values, act):
    """The same nest of values with `act` in place of each tensor."""
    if isinstance(values, torch.Tensor):
        return act(values)
    if isinstance(values, list | tuple):
        return type(values)([_mapped(value, act) for value in values])
    return {key: _mapped(value, act) for key, value in values.items()} if isinstance(values, dict) else values


class _Event:
    def record(self, *_):
        pass

    def synchronize(self):
        pass
