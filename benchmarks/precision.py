"""How far reduced precision moves logits and masks from float32: the parity cases, and a real scene with `mini`.

`python -m benchmarks.precision`. The first window of each parity case; four windows of ../shared/scenes' Koeln aerial
where that is present, with a random upsampler.
"""

from __future__ import annotations

from pathlib import Path

import rasterio
import torch
from torch import Tensor

from benchmarks import report
from segearth_cli import classes as class_lists
from segearth_cli.encoder import Encoder
from segearth_cli.model import Segmenter
from segearth_cli.sources import choose
from segearth_cli.text import phrase_embeddings
from segearth_cli.upsampler import Upsampler
from segearth_cli.weights import load_clip, load_upsampler

PARITY = Path(__file__).parents[1] / "tests" / "parity"
KOELN = Path(__file__).parents[2] / "shared" / "scenes" / "aerial_rgb_05m_koeln.tif"
PHRASES = ("tree", "forest", "grass", "building", "roof", "road", "parking lot", "bare soil")
CORNERS = ((0, 0), (300, 300), (600, 100), (100, 700))


def logits(
    model: str, upsampler: str | None, phrases: tuple[str, ...], chips: Tensor, precision: torch.dtype
) -> Tensor:
    """Logits (B, Q, S, S) of chips with freshly loaded weights; a random upsampler when none is named."""
    clip = load_clip(model)
    encoder = Encoder(clip.model, clip.mean, clip.std)
    torch.manual_seed(0)
    lift = Upsampler(encoder.channels, encoder.patch)
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


def main() -> None:
    facts: dict[str, object] = {"cpu": report.cpu_name()}
    for case in sorted(PARITY.iterdir()):
        with rasterio.open(case / "image.tif") as ds:
            chips = torch.from_numpy(ds.read()[None, :, :224, :224])
        phrases = class_lists.read(case / "classes.txt").queries
        facts[case.name] = compare(f"local-dir:{case / 'model'}", str(case / "upsampler.safetensors"), phrases, chips)
    if KOELN.exists():
        with rasterio.open(KOELN) as ds:
            image = torch.from_numpy(ds.read())
        chips = torch.stack([image[:, row : row + 224, col : col + 224] for row, col in CORNERS])
        facts["koeln"] = compare(choose("mini", None).model, None, PHRASES, chips)
    report.write("precision", facts)


if __name__ == "__main__":
    main()
