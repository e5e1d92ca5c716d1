"""A card in one command: the upsampler beside the ViT, windows a second, the card's idle share, precision.

`python -m benchmarks.gpu [--batch 64]`. Random weights of ViT-B/16 shapes; speed does not depend on them. Each
precision with PyTorch's upsampler and with the Triton kernels. Without a CUDA device it says so and ends.
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
from segearth_cli.model import Fused, Segmenter, coordinates
from segearth_cli.weights import Assembled

Clock = Callable[[Callable[[], object]], float]  # milliseconds that an act takes


def on_card(act: Callable[[], object], repeats: int = 10) -> float:
    """The median milliseconds of an act on the card, by events, after three to warm up."""
    for _ in range(3):
        act()
    taken: list[float] = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        act()
        end.record()
        end.synchronize()
        taken.append(start.elapsed_time(end))
    return sorted(taken)[repeats // 2]


@torch.inference_mode()
def parts(segmenter: Segmenter, visual: Any, chips: Tensor, clock: Clock = on_card) -> dict[str, float]:
    """Milliseconds of a batch: open_clip's own ViT, our tower, tokens to logits, and the coordinates in that."""
    x = segmenter.encoder.normalise(chips)
    half = x.to(segmenter.precision)
    _, tokens = segmenter.encoder(x)
    rows = tokens.flatten(2).transpose(1, 2)
    made = {
        "vit_ms": clock(lambda: visual(half)),
        "tower_ms": clock(lambda: segmenter.encoder(x)),
        "tokens_to_logits_ms": clock(lambda: segmenter.cosines(tokens, x)),
        "of_that_coordinates_ms": clock(lambda: coordinates(rows, at_most=rows.shape[1])),
        "all_ms": clock(lambda: segmenter(chips)),
    }
    made["upsampler_over_vit"] = made["tokens_to_logits_ms"] / made["vit_ms"]
    made["windows_per_second"] = len(chips) / made["all_ms"] * 1e3
    return made


def differences(segmenter: Segmenter, exact: Segmenter, chips: Tensor) -> dict[str, float]:
    """Of logits from those of `exact`: the largest, and per cent of pixels with another best phrase."""
    found, right = segmenter(chips), exact(chips)
    other = (found.argmax(dim=1) != right.argmax(dim=1)).float().mean()
    return {"largest_difference": float((found - right).abs().max()), "other_pixels_percent": 100 * float(other)}


def busy(segmenter: Segmenter, device: torch.device, side: int, batch: int) -> dict[str, float]:
    """A made scene from file to mask: seconds, and the share of them in which the device computed (torch.profiler)."""
    made = Assembled(segmenter, device, segmenter.encoder.native, {})
    classes = class_lists.parse(scene.WORDS)
    kind = torch.profiler.ProfilerActivity.CUDA if device.type == "cuda" else torch.profiler.ProfilerActivity.CPU
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = scene.made(folder, side)
        scene.run(path, folder, made, classes, batch=batch)
        with torch.profiler.profile(activities=[kind]) as profile:
            facts = scene.run(path, folder, made, classes, batch=batch)
    spans = [
        (e.time_range.start, e.time_range.end)
        for e in profile.events() or []
        if e.device_type.name == device.type.upper()
    ]
    return facts | {"busy_share": covered(spans) / 1e6 / facts["seconds"]}


def covered(spans: list[tuple[float, float]]) -> float:
    """The length of what spans cover together; kernels of two streams may overlap.

    >>> covered([(3, 5), (0, 2), (1, 4)])
    5.0
    """
    total, reached = 0.0, 0.0
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--side", type=int, default=4000, help="of the made scene, pixels")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device here: nothing measured")
        return
    device = torch.device("cuda")
    chips = torch.randint(0, 256, (arguments.batch, 3, 224, 224), dtype=torch.uint8, device=device)
    facts: dict[str, Any] = {"card": torch.cuda.get_device_name(), "batch": arguments.batch}
    exact = build(torch.float32, 8)[0].to(device)
    for name, precision in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        for kernels, fused in (("torch", None), ("triton", Fused(print))):
            segmenter, visual = build(precision, 8, fused)
            segmenter, visual = segmenter.to(device), visual.to(device)
            found: dict[str, Any] = parts(segmenter, visual, chips) | differences(segmenter, exact, chips[:4])
            found["refused"] = fused and fused.refused
            found["scene"] = busy(segmenter, device, arguments.side, arguments.batch)
            facts[f"{name}_{kernels}"] = found
    with device:  # the plain formula makes its axes where it runs
        plain = on_card(lambda: plain_window(exact, chips[:1]), 3)
    facts["plain_windows_per_second"] = 1e3 / plain
    for kernels in ("torch", "triton"):
        speed = facts[f"fp16_{kernels}"]["windows_per_second"]
        facts[f"fp16_{kernels}_over_plain"] = speed / facts["plain_windows_per_second"]
    report.write("gpu", facts)


if __name__ == "__main__":
    main()
