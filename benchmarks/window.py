"""One window at ViT-B/16 shapes on the CPU: what the whole method costs beside the ViT forward alone, as ratios.

Random weights. The window is of the NEON sample, and for the ratios of noise too, whose tokens are as different as can
be and leave most to upsample. Then the windows of a scene, each alone and with what its neighbours left. `--plain` adds
the published formula, unfolded (13 GB, minutes).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import rasterio
import torch
import torch.nn.functional as F

from benchmarks import report
from benchmarks.precision import NEON, chip
from segearth_cli.model import JBU, Direct, Encoder, Fused, Overlap, Segmenter, Upsampler, llvm_version
from segearth_cli.prediction import KEPT_BYTES
from segearth_cli.raster import starts

SCENE = NEON.with_name("bahamas_landsat.tif")
STRIDE = 112
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def build(
    precision: torch.dtype, phrases: int, fused: Fused | None = None, direct: Direct | None = None
) -> tuple[Segmenter, Any]:
    """A segmenter of ViT-B/16 shapes in a precision, and a plain open_clip ViT in the same precision."""
    torch.manual_seed(0)
    clip = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None).eval()
    plain = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None).eval().visual.to(precision)
    upsampler = Upsampler(512, 16).eval()
    text = F.normalize(torch.randn(phrases, 512), dim=-1)
    return Segmenter(Encoder(clip, MEAN, STD), upsampler, text, precision=precision, fused=fused, direct=direct), plain


def seconds(act: Callable[[], object], repeats: int) -> float:
    """The shortest processor's time of several runs, after one to warm up."""
    act()
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        act()
        best = min(best, time.process_time() - started)
    return best


def peak_above(act: Callable[[], object]) -> float:
    """Gigabytes of resident memory that an act needs at its peak beside what was there before (Linux)."""

    def status(field: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))

    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the former peak
    act()
    return (status("VmHWM") - before) / 1e6


def row_by_row(segmenter: Segmenter) -> dict[str, float]:
    """Milliseconds a window of the Bahamas sample takes alone, and beside others, each the mean of all windows."""
    with rasterio.open(SCENE) as ds:
        image = torch.from_numpy(ds.read((1, 2, 3)))[None]
    overlap = Overlap(STRIDE, KEPT_BYTES)
    spent = {"alone_ms": 0.0, "beside_ms": 0.0}
    places = [(row, col) for row in starts(image.shape[2], 224, STRIDE) for col in starts(image.shape[3], 224, STRIDE)]
    for row, col in places:
        window = image[:, :, row : row + 224, col : col + 224].contiguous()
        for name, shared in (("alone_ms", None), ("beside_ms", overlap)):
            started = time.perf_counter()
            segmenter(window, None, shared)
            spent[name] += (time.perf_counter() - started) * 1e3 / len(places)
    return spent


def plain_jbu(jbu: JBU, source: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
    """The published formula, neighbourhoods unfolded: source (B, C, h, w), guidance (B, 3, H, W) -> (B, C, H, W)."""
    b, _, height, width = guidance.shape
    radius, taps = jbu.radius, jbu.taps

    def unfold(x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x, (radius,) * 4, mode="reflect")
        return F.unfold(padded, 2 * radius + 1).view(b, x.shape[1], taps, height, width)

    keys = jbu.range_proj(guidance)
    scores = torch.einsum("bcthw,bchw->bthw", unfold(keys), keys)
    kernel = torch.softmax(jbu.range_temp.exp().clamp(1e-4, 1e4) * scores, dim=1)
    axis = torch.linspace(-1, 1, 2 * radius + 1)
    spatial = torch.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * jbu.sigma_spatial**2)).reshape(1, taps, 1, 1)
    kernel = kernel * spatial
    kernel = kernel / kernel.sum(dim=1, keepdim=True).clamp(min=1e-7)
    kernel = kernel + 0.1 * jbu.fixup_proj(torch.cat([kernel, guidance], dim=1))
    fine = F.interpolate(source, (height, width), mode="bicubic", align_corners=False)
    return torch.einsum("bcthw,bthw->bchw", unfold(fine), kernel)


@torch.inference_mode()
def plain_window(segmenter: Segmenter, chips: torch.Tensor) -> torch.Tensor:
    """A window by the published formula with all C channels upsampled."""
    assert segmenter.upsampler is not None
    x = segmenter.encoder.normalise(chips)
    token, maps = segmenter.encoder(x)
    for stage in range(1, 5):
        size = 14 << stage, 14 << stage
        maps = plain_jbu(segmenter.upsampler.up, maps, F.adaptive_avg_pool2d(x, size))
    maps = F.normalize(maps + 0.1 * segmenter.upsampler.fixup_proj(maps), dim=1)
    logits = torch.einsum("bchw,qc->bqhw", maps, segmenter.phrases)
    bias = F.normalize(token, dim=-1) @ segmenter.phrases.T
    return logits - segmenter.global_bias * bias[:, :, None, None]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--torch", action="store_true", help="upsample by PyTorch, where LLVM is here too")
    arguments = parser.parse_args()
    chips = chip(NEON)
    noise = torch.randint(0, 256, chips.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    direct = Direct() if llvm_version() and not arguments.torch else None
    facts: dict[str, Any] = {
        "kernels": "llvm" if direct else "torch",
        "threads": torch.get_num_threads(),
        "cpu": report.cpu_name(),
    }
    for name, precision in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        segmenter, visual = build(precision, 8, direct=direct)
        above = peak_above(partial(segmenter, chips))
        x = segmenter.encoder.normalise(chips).to(precision)
        with torch.inference_mode():
            forward = seconds(partial(visual, x), arguments.repeats)
            tower = seconds(partial(segmenter.encoder, segmenter.encoder.normalise(chips)), arguments.repeats)
        window, noisy = (seconds(partial(segmenter, image), arguments.repeats) for image in (chips, noise))
        facts[name] = {
            "vit_ms": forward * 1e3,
            "tower_ms": tower * 1e3,
            "window_ms": window * 1e3,
            "noise_ms": noisy * 1e3,
            "ratio": window / forward,
            "tower_ratio": window / tower,
            "noise_ratio": noisy / forward,
            "above_gb": above,
            **row_by_row(segmenter),
        }
    facts["phrases_ms"] = {}
    for count in (4, 16, 64, 256):
        segmenter, _ = build(torch.float32, count, direct=direct)
        facts["phrases_ms"][count] = seconds(partial(segmenter, chips), 2) * 1e3
    if arguments.plain:
        segmenter, _ = build(torch.float32, 8, direct=direct)
        started = time.perf_counter()
        expected = plain_window(segmenter, chips)
        facts["plain_s"] = time.perf_counter() - started
        facts["plain_over_fast"] = facts["plain_s"] * 1e3 / facts["fp32"]["window_ms"]
        facts["largest_difference"] = (expected - segmenter(chips)).abs().max().item()
    report.write("window", facts)


if __name__ == "__main__":
    main()
