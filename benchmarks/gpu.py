"""A card in one command: the upsampler beside the ViT, windows a second, the card's idle share, precision.

`python -m benchmarks.gpu [--batch 64]`. Random weights of ViT-B/16 shapes; speed does not depend on them. Without a
CUDA device it says so and ends.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import report, scene
from benchmarks.window import build, plain_window
from segearth_cli import classes as class_lists
from segearth_cli.model import Segmenter, coordinates
from segearth_cli.model import gpu_stages as fused
from segearth_cli.weights import Assembled


def milliseconds(act: Callable[[], object], repeats: int = 10) -> float:
    """The median time of an act on the card, by events, after three to warm up."""
    for _ in range(3):
        act()
    taken = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        act()
        end.record()
        end.synchronize()
        taken.append(start.elapsed_time(end))
    return sorted(taken)[repeats // 2]


@torch.inference_mode()
def parts(segmenter: Segmenter, visual: Any, chips: Tensor) -> dict[str, float]:
    """Milliseconds of a batch: open_clip's own ViT, our tower, tokens to logits, and the Cholesky factor in that."""
    x = segmenter.encoder.normalise(chips)
    half = x.to(segmenter.precision)
    _, tokens = segmenter.encoder(x)
    rows = tokens.flatten(2).transpose(1, 2)
    made = {
        "vit_ms": milliseconds(lambda: visual(half)),
        "tower_ms": milliseconds(lambda: segmenter.encoder(x)),
        "tokens_to_logits_ms": milliseconds(lambda: segmenter._upsampled(tokens, x)),
        "of_that_cholesky_ms": milliseconds(lambda: coordinates(rows)),
        "all_ms": milliseconds(lambda: segmenter(chips)),
    }
    made["upsampler_over_vit"] = made["tokens_to_logits_ms"] / made["vit_ms"]
    return made | {"windows_per_second": len(chips) / made["all_ms"] * 1e3, "fused": float(not fused._refused)}


def busy(segmenter: Segmenter, side: int, batch: int) -> dict[str, float]:
    """A made scene from file to mask: seconds, and the share of them in which a kernel ran (torch.profiler)."""
    made = Assembled(segmenter, torch.device("cuda"), 224, {})
    classes = class_lists.parse(scene.WORDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = scene.made(folder, side)
        scene.run(path, folder, made, classes, batch=batch)
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            facts = scene.run(path, folder, made, classes, batch=batch)
    spans = sorted(
        (e.time_range.start, e.time_range.end)
        for e in profile.events()
        if e.device_type == torch.autograd.DeviceType.CUDA
    )
    total, reached = 0.0, 0.0  # microseconds; kernels of two streams may overlap
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return facts | {"busy_share": total / 1e6 / facts["seconds"]}


def largest_difference(precision: torch.dtype, chips: Tensor) -> float:
    """Of a logit, from PyTorch's path in float32, which is never fused."""
    exact, away = (build(p, 8)[0].cuda()(chips) for p in (torch.float32, precision))
    return float((away - exact).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--side", type=int, default=4000, help="of the made scene, pixels")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device here: nothing measured")
        return
    chips = torch.randint(0, 256, (arguments.batch, 3, 224, 224), dtype=torch.uint8, device="cuda")
    facts: dict[str, Any] = {"card": torch.cuda.get_device_name(), "batch": arguments.batch}
    for name, precision in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        segmenter, visual = build(precision, 8)
        segmenter, visual = segmenter.cuda(), visual.cuda()
        facts[name] = parts(segmenter, visual, chips)
        facts[name]["largest_difference"] = largest_difference(precision, chips[:4])
        facts[name]["scene"] = busy(segmenter, arguments.side, arguments.batch)
    segmenter = build(torch.float32, 8)[0]
    with torch.device("cuda"):  # the plain formula makes its axes where it runs
        plain = milliseconds(lambda: plain_window(segmenter.cuda(), chips[:1]), 3)
    facts["plain_windows_per_second"] = 1e3 / plain
    facts["fp16_over_plain"] = facts["fp16"]["windows_per_second"] / facts["plain_windows_per_second"]
    report.write("gpu", facts)


if __name__ == "__main__":
    main()
