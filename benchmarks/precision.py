"""How far reduced precision moves logits and masks from float32: the parity cases, and real images with `mini`.

`python -m benchmarks.precision`. The first window of each parity case and of the NEON sample; where ../shared/labelled
is present, one of each of up to three images a set, whose phrases are then the set's own.
"""

from __future__ import annotations

from pathlib import Path

import rasterio
import torch
from torch import Tensor

from benchmarks import report
from scripts.mini.score import files, places
from segearth_cli import classes as class_lists
from segearth_cli.encoder import Encoder
from segearth_cli.model import Segmenter
from segearth_cli.sources import MINI, UPSAMPLER
from segearth_cli.text import phrase_embeddings
from segearth_cli.weights import load_clip, load_upsampler

PARITY = Path(__file__).parents[1] / "tests" / "parity"
NEON = Path(__file__).parents[1] / "sample_tiles" / "neon_osbs_01m.tif"
LABELLED = Path(__file__).parents[2] / "shared" / "labelled"
PHRASES = ("tree", "forest", "grass", "building", "roof", "road", "parking lot", "bare soil")


def logits(
    model: str, upsampler: str | None, phrases: tuple[str, ...], chips: Tensor, precision: torch.dtype
) -> Tensor:
    """Logits (B, Q, S, S) of chips with freshly loaded weights."""
    clip = load_clip(model)
    encoder = Encoder(clip.model, clip.mean, clip.std)
    lift = None
    if upsampler is not None:
        sizes = {"channels": encoder.channels, "patch": encoder.patch}
        lift, _ = load_upsampler(upsampler, **sizes, model_sha256=clip.sha256)
    text = phrase_embeddings(clip.sha256, clip.model, clip.tokenizer, phrases, None)
    return Segmenter(encoder, lift, text, precision=precision)(chips)


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


def chip(path: Path, long_side: int | None = None) -> Tensor:
    """The first window (1, 3, 224, 224) of an image, resampled to a long side."""
    with rasterio.open(path) as ds:
        factor = long_side / max(ds.shape) if long_side else 1
        size = tuple(int(side * factor + 0.5) for side in ds.shape)
        return torch.from_numpy(ds.read((1, 2, 3), out_shape=(3, *size))[None, :, :224, :224])


def labelled(upsampler: str | None) -> dict[str, dict[str, float]]:
    """Over windows of labelled images: the largest difference, other pixels on average and in the worst window."""
    found = []
    for folder in places(LABELLED):
        phrases = class_lists.read(folder / "classes.txt").queries
        found += [compare("mini", upsampler, phrases, chip(image, 448)) for image in files(folder, "held-out")[:3]]
    return {
        precision: {
            "windows": len(found),
            "largest": max(one[precision]["largest"] for one in found),
            "other_pixels_percent": sum(one[precision]["other_pixels_percent"] for one in found) / len(found),
            "worst_percent": max(one[precision]["other_pixels_percent"] for one in found),
        }
        for precision in found[0]
    }


def main() -> None:
    facts: dict[str, object] = {"cpu": report.cpu_name()}
    for case in sorted(PARITY.iterdir()):
        phrases, image = class_lists.read(case / "classes.txt").queries, chip(case / "image.tif")
        facts[case.name] = compare(f"local-dir:{case / 'model'}", str(case / "upsampler.safetensors"), phrases, image)
    facts["neon"] = compare("mini", str(MINI / UPSAMPLER), PHRASES, chip(NEON))
    if LABELLED.is_dir():
        facts["labelled"] = {"SimFeatUp": labelled(str(MINI / UPSAMPLER)), "bilinear": labelled(None)}
    report.write("precision", facts)


if __name__ == "__main__":
    main()
