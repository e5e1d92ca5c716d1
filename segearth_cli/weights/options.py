"""Which model runs and where, as the user says it; without torch, so that a command line can be built from it."""

from __future__ import annotations

from dataclasses import KW_ONLY, MISSING, dataclass
from typing import Literal

from segearth_cli.model import Attention, Kernels, Refine
from segearth_cli.options import option, validate
from segearth_cli.weights.templates import PUBLISHED, check_templates, read_templates

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which model, already resolved (`choose`), and where it runs."""

    model: str = option(
        MISSING,
        "--model",
        "-m",
        help="auto, a name of `segearth models`, local-dir:FOLDER, NAME:TAG, NAME:FILE, hf-hub:ORG/NAME, "
        "python:MODULE:FACTORY.",
        panel="Model",
        unit="name",
        shown="auto",
    )
    """Of the catalogue, `local-dir:FOLDER`, `NAME:TAG`, `NAME:FILE`, `hf-hub:ORG/NAME` or `python:MODULE:FACTORY`."""
    upsampler: str = option(
        "none",
        help="SimFeatUp weights (.safetensors, .ckpt, .pt), or none: softer edges, faster.",
        panel="Model",
        unit="file",
        shown="the model's own",
    )
    """File of SimFeatUp weights, `mini` for the embedded ones, or `none`."""
    _: KW_ONLY
    refine: Refine = option(
        "exact",
        help="SimFeatUp's last stage everywhere, or on a CPU only where two classes come close (adaptive): faster. "
        "With --threshold or --calibration always exact.",
        panel="Model",
        advised=True,
    )
    """`adaptive` leaves probabilities, and so --confidence and --scores, bilinear where a class is far ahead."""
    attention: Attention = option("segearth", help="What the last block attends to.", panel="Model", advised=True)
    """Of the last block of the tower, or the last ones."""
    keep_residual: bool = option(
        False,
        "--keep-residual",
        help="Keep residual and MLP of the last block; with vanilla that is plain CLIP.",
        panel="Model",
        advised=True,
    )
    """Whether the modulated blocks keep their residual and MLP, which the published rows drop."""
    last_blocks: int | None = option(
        None,
        help="How many last blocks are modulated, their outputs summed.",
        panel="Model",
        shown="1 (gem: 6)",
        advised=True,
        at_least=1,
    )
    """Blocks that are modulated; None = as the attention's publication has it, one but for gem."""
    global_bias: float = option(
        0.3, help="Share of the global token taken away from every pixel, lambda.", panel="Model", advised=True
    )
    """Lambda of the method, any finite number: this much of the global token's cosine is taken away."""
    templates: tuple[str, ...] = option(
        PUBLISHED,
        help="Sentences that phrases are averaged over: 80 or 7 of CLIP's, or a file, each line with {}.",
        panel="Classes",
        unit="set",
        shown="80",
        parse=read_templates,
    )
    """`("80",)`, `("7",)`, or sentences with `{}` where the phrase goes."""
    device: str = option(
        "auto", "--device", "-d", help="auto, cpu, cuda:N or mps.", panel="Machine", unit="device", alternative="device"
    )
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps`."""
    precision: Precision = option("auto", help="Of the model's products; auto goes by the device.", panel="Machine")
    """Of the products of the tower and SimFeatUp; `auto` goes by the device."""
    kernels: Kernels = option(
        "auto",
        help="What SimFeatUp runs by; auto: LLVM on CPUs where llvmlite is, else PyTorch. Or SEGEARTH_KERNELS.",
        panel="Machine",
        variable="SEGEARTH_KERNELS",
    )
    """`auto` = LLVM on a CPU where llvmlite is installed, else PyTorch; `torch`; `triton` = CUDA's, unmeasured."""

    def __post_init__(self) -> None:
        validate(self)
        check_templates(self.templates)
