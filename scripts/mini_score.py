"""Score models side by side, quickly: python -m scripts.mini_score PART LABELLED [TRAIN/labelled] --models FOLDER...

PART: held-out, chosen-on or trained (`score.files`). The models share frozen blocks, so tokens are computed once.
Bilinear logits, no threshold; sets of `labelled` at a long side of 448, others at their own scale. For every set the
number of images, its score with a 95 % interval (images drawn again 1,000 times), and of each class IoU, precision and
recall. `benchmarks.accuracy` runs the whole program instead, SimFeatUp included, and takes an hour.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import SimpleTokenizer
from safetensors.torch import load_file

from scripts.mini import score, text, tower
from scripts.train_mini import embedded_phrases

DRAWS = 1000


def main() -> None:
    """Print a line of JSON for each model, bias and set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("held-out", "chosen-on", "trained"))
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--models", nargs="+", type=Path, required=True)
    parser.add_argument("--biases", nargs="+", type=float, default=[0.3, 0.5])
    parser.add_argument("--cache", type=Path, help="file for the tokens of the scenes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = {str(folder): _model(folder) for folder in options.models}
    first = next(iter(models.values()))
    if options.cache and options.cache.exists():
        sets = torch.load(options.cache, weights_only=False)
    else:
        sets = score.read(options.folders, first.visual, options.part)
        if options.cache:
            torch.save(sets, options.cache)
    for name, model in models.items():
        wanted = sorted({p.strip() for s in sets for c in s.classes for p in c})
        embed = embedded_phrases(model, SimpleTokenizer(context_length=text.CONTEXT), wanted)
        for bias in options.biases:
            rows = {s.name: _row(model.visual, s, embed, bias) for s in sets}
            for of, row in rows.items():
                print(json.dumps({"model": name, "bias": bias, "set": of} | row), flush=True)
            mean = float(np.mean([row["score"] for row in rows.values()]))
            print(json.dumps({"model": name, "bias": bias, "set": "mean", "score": round(mean, 1)}), flush=True)


def _row(visual: Any, labelled: score.Set, embed: dict[str, torch.Tensor], bias: float) -> dict[str, Any]:
    each = np.stack(
        [score.confusion(visual, score.Set("", labelled.classes, [s]), embed, bias) for s in labelled.scenes]
    )
    total = each.sum(axis=0)
    draws = np.random.default_rng(0).integers(0, len(each), (DRAWS, len(each)))
    spread = np.nanpercentile([_score(each[d].sum(axis=0)) for d in draws], [2.5, 97.5])
    with np.errstate(invalid="ignore"):
        recall, precision = (100 * total.diagonal() / total.sum(axis=axis) for axis in (1, 0))
    return {
        "images": len(each),
        "score": round(_score(total), 1),
        "interval": [round(float(v), 1) for v in spread],
        "classes": {
            phrases[0]: [round(float(v), 1) for v in figures]
            for phrases, *figures in zip(labelled.classes, score.iou(total), precision, recall, strict=True)
        },
    }


def _score(matrix: NDArray[np.int64]) -> float:
    """As score.mean of one set."""
    iou = score.iou(matrix)
    return float(iou[1] if len(iou) == 2 else np.nanmean(iou))


def _model(folder: Path) -> Any:
    from open_clip.model import CLIP

    model = CLIP(**tower.CONFIG)
    model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    return model.float().eval()


if __name__ == "__main__":
    main()
