"""How far reduced precision moves logits and masks from float32: the parity cases, and real images with `mini`.

`python -m benchmarks.precision`. The first window of each parity case and of the NEON sample; where ../shared/labelled
is present, the masks of up to three whole images a set, for the set's own classes.
"""

from __future__ import annotations

from pathlib import Path

import rasterio
import torch
from torch import Tensor

from benchmarks import report
from benchmarks.accuracy import stitched
from scripts.mini.score import files, places
from segearth_cli import classes as class_lists
from segearth_cli.model import Encoder, Segmenter
from segearth_cli.prediction import Decider, PredictOptions
from segearth_cli.weights import (
    MINI,
    UPSAMPLER,
    ModelOptions,
    Precision,
    assemble,
    load_clip,
    load_upsampler,
    phrase_embeddings,
)

PARITY = Path(__file__).parents[1] / "tests" / "parity"
NEON = Path(__file__).parents[1] / "sample_tiles" / "neon_osbs_01m.tif"
LABELLED = Path(__file__).parents[2] / "shared" / "labelled"
OPTIONS = PredictOptions(long_side=448)
GLOBAL_BIAS = 0.5  # of mini
PHRASES = ("tree", "forest", "grass", "building", "roof", "road", "parking lot", "bare soil")


def logits(
    model: str, upsampler: str | None, phrases: tuple[str, ...], chips: Tensor, precision: torch.dtype
) -> Tensor:
    """Logits (B, Q, S, S) of chips with freshly loaded weights."""
    clip = load_clip(model)
    encoder = Encoder(clip, clip.mean, clip.std)
    lift = None
    if upsampler is not None:
        sizes = {"channels": encoder.channels, "patch": encoder.patch}
        lift, _ = load_upsampler(upsampler, **sizes, model_sha256=clip.sha256)
    text = phrase_embeddings(clip, phrases, None)
    made: Tensor = Segmenter(encoder, lift, text, precision=precision)(chips)
    return made


def compare(model: str, upsampler: str | None, phrases: tuple[str, ...], chips: Tensor) -> dict[str, dict[str, float]]:
    """For each precision the largest and mean difference of a logit, and per cent of pixels with another best one."""
    exact = logits(model, upsampler, phrases, chips, torch.float32)
    found = {}
    for precision in (torch.bfloat16, torch.float16):
        away = logits(model, upsampler, phrases, chips, precision)
        difference = (away - exact).abs()
        other = (away.argmax(dim=1) != exact.argmax(dim=1)).float().mean()
        found[str(precision).removeprefix("torch.")] = {
            "largest": difference.max().item(),
            "mean": difference.mean().item(),
            "other_pixels_percent": 100 * other.item(),
        }
    return found


def chip(path: Path) -> Tensor:
    """The first window (1, 3, 224, 224) of an image."""
    with rasterio.open(path) as ds:
        return torch.from_numpy(ds.read((1, 2, 3))[None, :, :224, :224])


def labelled(upsampler: str) -> dict[str, dict[str, float]]:
    """Over labelled images: the largest differences, and other pixels of masks on average and in the worst image."""
    found: dict[Precision, list[tuple[float, float]]] = {"bf16": [], "fp16": []}
    for folder in places(LABELLED):
        classes = class_lists.read(folder / "classes.txt")
        images, queries = files(folder, "held-out")[:3], len(classes.queries)
        decide = Decider(classes.query_class, 0.0, None)
        exact = []
        every_precision: tuple[Precision, ...] = ("fp32", *found)
        for precision in every_precision:
            options = ModelOptions("mini", upsampler, precision=precision, global_bias=GLOBAL_BIAS)
            assembled = assemble(options, classes)
            every = [stitched(image, assembled.segmenter, assembled, OPTIONS, queries) for image in images]
            if precision == "fp32":
                exact = every
                continue
            for one, other in zip(exact, every, strict=True):
                away = (decide(one).codes != decide(other).codes).float().mean().item()
                found[precision].append(((one - other).abs().max().item(), 100 * away))
    return {
        precision: {
            "images": len(pairs),
            "largest": max(largest for largest, _ in pairs),
            "largest_mean": sum(largest for largest, _ in pairs) / len(pairs),
            "other_pixels_percent": sum(away for _, away in pairs) / len(pairs),
            "worst_percent": max(away for _, away in pairs),
        }
        for precision, pairs in found.items()
    }


def main() -> None:
    facts: dict[str, object] = {"cpu": report.cpu_name()}
    for case in sorted(PARITY.iterdir()):
        phrases, image = class_lists.read(case / "classes.txt").queries, chip(case / "image.tif")
        facts[case.name] = compare(f"local-dir:{case / 'model'}", str(case / "upsampler.safetensors"), phrases, image)
    facts["neon"] = compare("mini", str(MINI / UPSAMPLER), PHRASES, chip(NEON))
    if LABELLED.is_dir():
        facts["labelled"] = {"SimFeatUp": labelled("mini"), "bilinear": labelled("none")}
    report.write("precision", facts)


if __name__ == "__main__":
    main()
