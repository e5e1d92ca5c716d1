"""What each part of the method brings: every labelled set with and without it, one model. Writes accuracy.md.

`python -m benchmarks.accuracy --model mini`. Sets come from ../shared/labelled; odd-indexed files of each set are held
out (nothing was chosen on them), even-indexed ones are for development (`--half dev`); of these, `mini` has not seen
those of `--half chosen-on`. `--folder ../shared/train/labelled --long-side 0 --name accuracy_unseen` takes the two sets
that `mini` never saw, at their own scale.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import report
from scripts.mini.score import files as files_of
from scripts.mini.score import places
from segearth_cli import classes as class_lists
from segearth_cli.classes import ClassSet
from segearth_cli.evaluation import confusion as metrics
from segearth_cli.model import Attention, Overlap
from segearth_cli.prediction import Decider, Decision, Model, PredictOptions, make_plan, segmented_rows, work_for
from segearth_cli.raster import open_scene
from segearth_cli.weights import Assembled, ModelOptions, assemble, choose

LABELLED = Path(__file__).parents[2] / "shared" / "labelled"
ATTENTIONS: tuple[Attention, ...] = ("vanilla", "clearclip", "segearth")  # without being asked
BIASES = (0.0, 0.3, 0.5)  # none, as published, as `mini` does best


class Apart:
    """The model's logits and its bias apart, (B, 2 Q, S, S), so that one run serves every lambda."""

    def __init__(self, assembled: Assembled):
        self._segmenter = assembled.of_clip
        self._segmenter.global_bias = 0.0

    def __call__(self, chips: Tensor, valid: Tensor | None, overlap: Overlap) -> Tensor:
        plain = self._segmenter(chips, valid, overlap)
        token = self._segmenter.token(chips, valid)
        bias = torch.nn.functional.normalize(token, dim=-1) @ self._segmenter.phrases.T
        return torch.cat([plain, bias[:, :, None, None].expand_as(plain)], dim=1)


class Keep(Decider):
    """Keeps the stitched logits instead of deciding."""

    def __init__(self) -> None:
        self.rows: list[Tensor] = []

    def __call__(self, logits: Tensor) -> Decision:
        self.rows.append(logits.clone())
        nothing = torch.zeros(logits.shape[1:], dtype=torch.uint8)
        return Decision(nothing, nothing.clone(), None)

    def no_scores(self, _shape: tuple[int, int]) -> None:
        return None


def logits(path: Path, assembled: Assembled, options: PredictOptions, queries: int) -> tuple[Tensor, Tensor]:
    """Stitched logits (Q, H, W) without bias, and the stitched bias (Q, H, W)."""
    both = stitched(path, Apart(assembled), assembled, options, 2 * queries)
    return both[:queries], both[queries:]


def stitched(path: Path, model: Model, assembled: Assembled, options: PredictOptions, queries: int) -> Tensor:
    """The logits (Q, H, W) that a whole image's mask is decided by."""
    scene = open_scene(str(path), options.read)
    keep = Keep()
    plan = make_plan(scene, options, assembled.native)
    for _ in segmented_rows(scene, plan, model, queries, keep, work_for(plan, assembled.device, None)):
        pass
    scene.close()
    return torch.cat(keep.rows, dim=1)


def interval(each: list[metrics.Confusion]) -> list[float]:
    """95 % interval of a set's score, in per cent: its images drawn again, with replacement, 1,000 times."""
    counts = np.stack([one.counts for one in each])
    draws = np.random.default_rng(0).integers(0, len(each), (1000, len(each)))
    scores = [score(metrics.Confusion(counts[drawn].sum(axis=0))) for drawn in draws]
    return [round(float(v), 1) for v in np.nanpercentile(scores, [2.5, 97.5])]


def score(total: metrics.Confusion) -> float:
    """In per cent: mIoU, for background and one class the IoU of that class."""
    return 100 * float(total.iou[1] if len(total.iou) == 2 else total.mean_iou)


def confusion(codes: np.ndarray, label: np.ndarray, classes: int) -> metrics.Confusion:
    """Label against prediction, 255 ignored."""
    known = label < classes
    counts = np.bincount(
        label[known].astype(np.int64) * (classes + 1) + codes[known], minlength=classes * (classes + 1)
    )
    return metrics.Confusion(counts.reshape(classes, classes + 1))


def variants(
    arguments: argparse.Namespace, classes: ClassSet, files: list[Path]
) -> Iterator[tuple[str, list[metrics.Confusion]]]:
    """Name and confusions, one a file, of each variant over the files of one set."""
    choice = choose(arguments.model, arguments.upsampler)
    options = PredictOptions(long_side=arguments.long_side or None, blend=arguments.blend)
    for upsampler in dict.fromkeys(("none", choice.upsampler)):
        for attention in arguments.attentions:
            model = ModelOptions(choice.model, upsampler, attention=attention, precision=arguments.precision)
            assembled = assemble(model, classes)
            each: dict[float, list[metrics.Confusion]] = {bias: [] for bias in BIASES}
            decide = Decider(classes.query_class, arguments.threshold, classes.background)
            for path in files:
                plain, bias = logits(path, assembled, options, len(classes.queries))
                with rasterio.open(path.parents[1] / "mask" / f"{path.stem}.png") as ds:
                    label = ds.read(1)
                for weight in BIASES:
                    codes = decide(plain - weight * bias).codes.numpy()
                    each[weight].append(confusion(codes, label, len(classes)))
            for weight, found in each.items():
                yield f"{attention}, bias {weight:g}, {'SimFeatUp' if upsampler != 'none' else 'bilinear'}", found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="mini")
    parser.add_argument("--upsampler", default=None)
    parser.add_argument("--half", choices=("dev", "chosen-on", "held-out"), default="held-out")
    parser.add_argument("--attentions", nargs="+", default=ATTENTIONS, choices=get_args(Attention))
    parser.add_argument("--most", type=int, default=15, help="images of a set at the most")
    parser.add_argument("--folder", type=Path, default=LABELLED)
    parser.add_argument("--long-side", type=int, default=448, help="0 = as they are")
    parser.add_argument("--blend", default="mean")
    parser.add_argument("--threshold", type=float, default=0.0)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--sets", default="")
    parser.add_argument("--name", default="accuracy")
    arguments = parser.parse_args()
    found: dict[str, Any] = {"arguments": {k: v for k, v in vars(arguments).items() if k != "folder"}}
    for folder in places(arguments.folder):
        if arguments.sets and folder.name not in arguments.sets.split(","):
            continue
        classes = class_lists.read(folder / "classes.txt")
        named = next((n for n in classes.names if n in ("background", "clutter")), "none")
        classes = class_lists.with_background(classes, named)
        parts = ("trained", "chosen-on") if arguments.half == "dev" else (arguments.half,)
        files = sorted(f for part in parts for f in files_of(folder, part))[: arguments.most]
        if not files:
            continue
        found[folder.name] = {"images": len(files), "classes": list(classes.names)}
        for name, each in variants(arguments, classes, files):
            total = sum(each[1:], each[0])
            found[folder.name][name] = {
                "mIoU": round(total.mean_iou * 100, 1),
                "score": round(score(total), 1),
                "interval": interval(each),
            } | {key: percent(values) for key, values in
                 (("IoU", total.iou), ("precision", total.precision), ("recall", total.recall))}  # fmt: skip
            print(folder.name, name, found[folder.name][name], flush=True)
    report.write(arguments.name, found)
    if arguments.name == "accuracy":
        (Path(__file__).parent / "accuracy.md").write_text(page(found), encoding="utf-8")


def percent(shares: NDArray[np.float64]) -> list[float | None]:
    """None where there is nothing to tell of."""
    return [None if np.isnan(v) else round(float(v) * 100, 1) for v in shares]


def page(found: dict[str, Any]) -> str:
    """The figures as a page of tables."""
    sets = [name for name in found if name != "arguments"]
    names = [key for key in found[sets[0]] if key not in ("images", "classes")]
    settings = json.dumps({k: v for k, v in found["arguments"].items() if k != "name"})
    lines = [
        "# What each part of the method brings, with the embedded model",
        "",
        f"`python -m benchmarks.accuracy`, settings {settings}.",
        "mIoU in per cent, for sets of background and one class the IoU of that class; in brackets the 95 % interval "
        "when images are drawn again (sets of one image have none). In the head the number of images.",
        "`mini` learned from crops of the other, even-indexed images of these sets with their masks: it is not "
        "zero-shot here, the images are new to it.",
        "",
        "| variant | " + " | ".join(f"{name} ({found[name]['images']})" for name in sets) + " |",
        "|-" * (len(sets) + 1) + "|",
    ]
    for name in names:
        cells = []
        for which in sets:
            scores = found[which][name]
            low, high = scores["interval"]
            cells.append(f"{scores['score']} ({low} to {high})" if found[which]["images"] > 1 else f"{scores['score']}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for name in (n for n in names if n.startswith(f"segearth, bias {BIASES[-1]:g}")):
        lines += ["", f"IoU of each class, {name}:", ""]
        for which in sets:
            pairs = zip(found[which]["classes"], found[which][name]["IoU"], strict=True)
            lines.append(f"- {which}: " + ", ".join(f"{c} {v}" for c, v in pairs))
    lines += [
        "",
        "The paper (ViT-B/16, OpenEarthMap / WHU-Sat.II / WBS-SI): ClearCLIP-like baseline 32.4 / 22.7 / 46.9,",
        "with SimFeatUp 37.6 / 26.4 / 58.7, with the global bias 39.3 / 27.9 / 59.5, with 11 x 11 kernels 40.3 / 28.4",
        "/ 60.2.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
