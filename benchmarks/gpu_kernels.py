"""What the GPU kernels need on a card, without one: registers, spilled bytes and shared memory as ptxas tells them.

`python -m benchmarks.gpu_kernels`; the sizes are those of ViT-B/16, radius 5 and 3.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import report


@dataclass(frozen=True, slots=True)
class Compiled:
    """A kernel compiled for a compute capability; registers are those of a thread."""

    name: str
    capability: int
    registers: int
    spilled_bytes: int
    shared_bytes: int


def compile_all(capability: int, precision: str, radius: int) -> Iterator[Compiled]:
    """Every kernel as `fused.stage` launches it, for sm_<capability>; precision: fp16 or bf16."""
    from segearth_cli.model import gpu_kernels as kernels

    half = f"*{precision}"
    taps = {5: 128, 3: 64}[radius]
    common = {"RADIUS": radius, "K": 32}
    yield _compiled(kernels.keys_kernel, capability, half, {"second", "keys"}, {**common, "BLOCK": 128}, 4, 3)
    tile = {"T": taps, "N": 256, "TALL": 4, "WIDE": 8}
    yield _compiled(
        kernels.taps_kernel, capability, half, {"keys", "first", "second", "taps"}, {**common, **tile}, 8, 1
    )
    tile = {"RADIUS": radius, "T": taps, "TALL": 8, "WIDE": 8, "NEAR": 32, "BLOCK": 256}
    for queries in (0, 16, 64):
        halves = {"taps", "fine"} if queries else {"taps", "fine", "out"}
        yield _compiled(kernels.apply_kernel, capability, half, halves, {**tile, "Q": queries}, 8, 3)


def _compiled(
    kernel: Any, capability: int, half: str, halves: set[str], fixed: dict[str, int], warps: int, stages: int
) -> Compiled:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    numbers = {"height", "width", "rows", "cols", "channels", "span", "queries"}
    names = [str(name) for name in kernel.arg_names]
    kinds = {
        n: "constexpr" if n in fixed else "i32" if n in numbers else half if n in halves else "*fp32" for n in names
    }
    if kernel.fn.__name__ == "taps_kernel":
        kinds |= {"first_colours": "*fp32", "first_bias": "*fp32", "second_bias": "*fp32"}
    aligned = [i for i, n in enumerate(names) if kinds[n].startswith("*") or n == "channels"]
    source = ASTSource(
        kernel,
        kinds,
        {(names.index(n),): v for n, v in fixed.items()},
        {(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    made = triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps, "num_stages": stages}
    )
    told = _ptxas(made.asm["ptx"])
    registers, spilled = (int(_found(pattern, told)) for pattern in (r"Used (\d+) reg", r"(\d+) bytes spill st"))
    name = f"{kernel.fn.__name__} " + " ".join(f"{key}={value}" for key, value in fixed.items())
    return Compiled(name, capability, registers, spilled, made.metadata.shared)


def _ptxas(ptx: str) -> str:
    """What the assembler says of a kernel's resources."""
    import triton

    assembler = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
    architecture = _found(r"\.target (\w+)", ptx)
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [str(assembler), "-v", f"-arch={architecture}", file.name, "-o", "/dev/null"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, f"{pattern} is not in what the compiler wrote"
    return match[1]


def main() -> None:
    report.write(
        "gpu_kernels",
        {f"sm_{c}": [asdict(k) for radius in (5, 3) for k in compile_all(c, "fp16", radius)] for c in (80, 90)},
    )


if __name__ == "__main__":
    main()
