"""Where a model runs and in which precision: the one place that chooses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from segearth_cli.errors import SegEarthError, UsageError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SLOW = 1.2  # times as long as in float32 is worth a line


def devices() -> dict[str, str]:
    """The devices of this machine by the names of --device, and what each is."""
    threads = torch.get_num_threads()
    found = {"cpu": f"{threads} thread{'s'[: threads != 1]}"}
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        found[f"cuda:{index}"] = f"{card.name}, {card.total_memory / 2**30:.0f} GiB, sm_{card.major}{card.minor}"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple"
    return found


def pick_device(name: str) -> torch.device:
    """The device of a --device. Raises UsageError for an unknown name, SegEarthError when it is not on this machine."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: choose auto, cpu, cuda:N or mps") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {name}: choose auto, cpu, cuda:N or mps")
    here = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[device.type]
    if (device.index or 0) >= here:
        found = f"{torch.cuda.device_count()} CUDA devices" if device.type == "cuda" else "no MPS device"
        raise SegEarthError(f"--device {name}: this machine has {found}; use --device auto or cpu")
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of a --precision.

    auto is float16 on CUDA (the inputs of its products are bounded by the norms before them, and it is eight times
    closer to float32 than bfloat16), bfloat16 on CPUs that multiply it faster than float32, else float32.
    """
    if name == "auto":
        if device.type == "cuda":
            return torch.float16
        return torch.bfloat16 if device.type == "cpu" and fast_bfloat16(capabilities()) else torch.float32
    if name not in PRECISIONS:
        raise UsageError(f"--precision {name}: choose auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def slow_precision(
    name: str, device: torch.device, seconds: Callable[[torch.dtype], float] | None = None
) -> str | None:
    """One line for the user where a --precision that was chosen is slower than float32 on this CPU, else None.

    seconds: that a product takes; None = measured here, because what a CPU multiplies itself and what by way of
    float32 is not to be known from its name.
    """
    if name not in PRECISIONS or name == "fp32" or device.type != "cpu":
        return None
    seconds = seconds or _product_seconds
    times = seconds(PRECISIONS[name]) / seconds(torch.float32)
    if times <= SLOW:
        return None
    return f"--precision {name}: a product takes {times:.1f} times as long as in fp32 on this CPU; fp32 is faster"


def _product_seconds(dtype: torch.dtype) -> float:
    """The shortest of some products by one thread, as windows are computed; several would wait for one another."""
    x, weight = torch.zeros(64, 256, dtype=dtype), torch.zeros(512, 256, dtype=dtype)
    threads, taken = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for _ in range(4):  # the first warms up
            started = time.thread_time()
            torch.nn.functional.linear(x, weight)
            taken.append(time.thread_time() - started)
    finally:
        torch.set_num_threads(threads)
    return max(min(taken), 1e-7)


def capabilities() -> Mapping[str, Any]:
    """What this CPU can do by PyTorch's names; nothing where PyTorch is too old to say."""
    known: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return known


def fast_bfloat16(known: Mapping[str, Any]) -> bool:
    """Whether a CPU of such capabilities multiplies bfloat16 faster than float32: by AMX, or AVX512-BF16 on AMD's.

    On Intel's where AMX is missing, as on many virtual machines, AVX512-BF16 takes twice as long as float32. A rule and
    no measurement, so that every process of a machine rounds alike.
    """
    return bool(known.get("amx_bf16") or (known.get("avx512_bf16") and by_amd(known)))


def by_amd(known: Mapping[str, Any]) -> bool:
    """Whether a CPU of such capabilities is AMD's: SSE4a is in no other."""
    return bool(known.get("sse4a"))


def finer(dtype: torch.dtype) -> torch.dtype:
    """The dtype of products that bfloat16's 8 bits are too few for: float32 in its place, else `dtype` itself."""
    return torch.float32 if dtype == torch.bfloat16 else dtype
