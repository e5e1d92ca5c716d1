"""What the words of a class list do: background, synonyms, templates, sentences and scale, measured on labelled sets.

`OMP_NUM_THREADS=1 nice -n 10 python -m benchmarks.words` writes words.md, its means on the terminal. Every image is
encoded once (bilinear features, no SimFeatUp, windows of 224 px every 112); all variants of words are tried on the
features of the same labelled pixels, drawn at random. Sets: even-indexed images of ../shared/labelled, and
../shared/train/labelled; odd-indexed images of the former are held out and not
touched. `--cache FOLDER` keeps features for another run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from segearth_cli import classes as class_lists
from segearth_cli.classes import NODATA
from segearth_cli.land_cover import not_covered
from segearth_cli.model import LOGIT_SCALE, Encoder, embed_phrases
from segearth_cli.raster import starts
from segearth_cli.weights import load_clip, template_functions

SHARED = Path(os.environ.get("SEGEARTH_SHARED", Path(__file__).parents[2] / "shared"))
WINDOW, STRIDE = 224, 112
BACKGROUNDS = ("background", "clutter")
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
FACTORS = (0.5, 1.0, 2.0, 4.0)

# Metres a pixel as the READMEs of the sets state or estimate it; sets of unknown or mixed scale are left out.
GSD = {
    "potsdam_mmseg": 0.05, "harvey_uav": 0.1, "turkey_drone": 0.1, "dronedeploy_1d4f": 0.1, "hot_fair": 0.15,
    "inria": 0.3, "inria_patches": 0.3, "whu_aerial": 0.3, "ethz_cil_roads": 0.4, "cn_buildings": 0.45,
    "massachusetts_buildings": 1.0, "massachusetts_roads_crops": 1.0, "deepglobe_lc7": 1.5, "us_fields": 4.0,
}  # fmt: skip

# Sets of ../shared/labelled, beside whose images the first `mini` was trained.
OWN = (
    *("dubai", "epfl_roads", "inria", "loveda", "massachusetts_roads", "potsdam_mmseg", "uuad_mumbai", "wbs_si"),
    *("whu_aerial", "whu_sat_ii"),
)

SYNONYMS = {  # what a user may well write for a class of the sets; the first phrase names it
    "building": ("building", "roof", "house"),
    "road": ("road", "street", "highway"),
    "water": ("water", "river", "lake"),
    "tree": ("tree", "forest", "woodland"),
    "forest": ("forest", "tree", "woodland"),
    "grass": ("grass", "lawn", "meadow"),
    "cropland": ("cropland", "farmland", "field"),
    "bare soil": ("bare soil", "bare land", "barren land"),
}
SENTENCES = {
    "building": "A building seen from above: a roof with straight edges that throws a shadow.",
    "road": "A road seen from above: a long paved strip of even width, with cars on it.",
    "water": "Water seen from above: a smooth dark, blue or muddy surface of a river, lake or sea.",
    "tree": "Trees seen from above: round dark green crowns that throw shadows.",
    "forest": "A forest seen from above: many round dark green crowns close together.",
    "grass": "Grass seen from above: an even light green surface without crowns.",
    "cropland": "Cropland seen from above: large even fields with straight borders and rows.",
    "bare soil": "Bare soil seen from above: brown or yellow ground without plants.",
}


@dataclass(frozen=True)
class Set:
    """One labelled set, its pixels as features."""

    name: str
    rows: tuple[tuple[str, ...], ...]
    features: Tensor  # (N, C): what a phrase's vector is multiplied with for its logit
    labels: np.ndarray  # (N,) codes
    images: int

    @property
    def classes(self) -> list[int]:
        """Codes of the classes that are no background, and occur."""
        here = set(np.unique(self.labels).tolist())
        return [code for code, row in enumerate(self.rows) if not set(row) & set(BACKGROUNDS) and code in here]

    @property
    def background(self) -> tuple[str, ...] | None:
        """The phrases of the set's own background."""
        return next((row for row in self.rows if set(row) & set(BACKGROUNDS)), None)


class Words:
    """Vectors of phrases of one model."""

    def __init__(self, model: str):
        self.clip = load_clip(model)
        self.encoder = Encoder(self.clip.model, self.clip.mean, self.clip.std)
        weights = sorted(self.clip.model.visual.state_dict().items())
        self.tower = hashlib.sha256(b"".join(values.numpy().tobytes() for _, values in weights)).hexdigest()
        self.sets: dict[str, Sequence[Callable[[str], str]]] = {
            "80": template_functions(("80",)),
            "7": template_functions(("7",)),
            "satellite": template_functions(("a satellite image of {}.", "an aerial photograph of {}.")),
            "{}": template_functions(("{}",)),
        }
        self._known: dict[tuple[str, str], Tensor] = {}

    def __call__(self, phrase: str, templates: str = "80") -> Tensor:
        """The unit vector (C,) of a phrase."""
        key = phrase, templates
        if key not in self._known:
            self._known[key] = (
                embed_phrases(self.clip.model, self.clip.tokenizer, [phrase], self.sets[templates])[0].detach().clone()
            )
        return self._known[key]


def folders(only: str) -> Iterator[tuple[Path, list[Path]]]:
    """Each set with the images that may be looked at."""
    for root, step in (("labelled", 2), ("train/labelled", 1)):
        for folder in sorted((SHARED / root).iterdir()):
            images = sorted((folder / "img").iterdir())[::step] if (folder / "img").is_dir() else []
            if images and (not only or folder.name in only.split(",")):
                yield folder, images


def spread(images: list[Path], most: int) -> list[Path]:
    """At most so many images, from all over the list."""
    return [images[i] for i in sorted({int(i) for i in np.linspace(0, len(images) - 1, min(most, len(images)))})]


@torch.inference_mode()
def features(words: Words, image: Tensor, at: np.ndarray, bias: float) -> Tensor:
    """What phrases are multiplied with at places (N, 2) row, col of an image (3, H, W) uint8: (N, C)."""
    height, width = image.shape[1:]
    total = torch.zeros(len(at), words.encoder.channels)
    seen = torch.zeros(len(at), 1)
    for top in starts(height, WINDOW, STRIDE):
        for left in starts(width, WINDOW, STRIDE):
            chip = image[None, :, top : top + WINDOW, left : left + WINDOW].float()
            down, right = (-side % words.encoder.patch for side in chip.shape[-2:])
            token, tokens = words.encoder(F.pad(words.encoder.normalise(chip), (0, right, 0, down)))
            high, wide = chip.shape[2] + down, chip.shape[3] + right
            inside = (at[:, 0] >= top) & (at[:, 0] < top + WINDOW) & (at[:, 1] >= left) & (at[:, 1] < left + WINDOW)
            if inside.any():
                here = torch.from_numpy((at[inside] - (top, left) + 0.5) / (high, wide) * 2 - 1).float()
                grid = here.flip(-1).view(1, 1, -1, 2)
                found = F.grid_sample(
                    F.normalize(tokens, dim=1), grid, mode="bilinear", padding_mode="border", align_corners=False
                )
                rows = torch.from_numpy(np.flatnonzero(inside))
                total[rows] += found[0, :, 0].T - bias * F.normalize(token, dim=-1)
                seen[rows] += 1
    return total / seen


def pixels(
    words: Words, path: Path, arguments: argparse.Namespace, *, factor: float = 1.0, crop: int
) -> tuple[Tensor, np.ndarray]:
    """Features and labels of random labelled pixels of the middle of an image, seen at `factor` times its size."""
    picture = Image.open(path).convert("RGB")
    label = np.array(Image.open(path.parents[1] / "mask" / f"{path.stem}.png"))
    top, left = (max(0, (side - crop) // 2) for side in label.shape)
    label = label[top : top + crop, left : left + crop]
    rows, cols = np.nonzero(label != NODATA)
    chosen = np.random.default_rng(1).permutation(len(rows))[: arguments.pixels]
    at = np.stack([rows[chosen], cols[chosen]], axis=1)
    labels = label[rows[chosen], cols[chosen]]
    key = f"{words.tower} {path.parents[1].name}/{path.name} {factor} {crop} {arguments.pixels} {arguments.bias}"
    kept = arguments.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.pt" if arguments.cache else None
    if kept is not None and kept.exists():
        return torch.load(kept, weights_only=True).float(), labels
    picture = picture.crop((left, top, left + label.shape[1], top + label.shape[0]))
    size = [max(16, round(side * factor)) for side in label.shape]
    if factor != 1:
        picture = picture.resize((size[1], size[0]), Image.Resampling.BOX if factor < 1 else Image.Resampling.BILINEAR)
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    there = (at + 0.5) * (size[0] / label.shape[0], size[1] / label.shape[1]) - 0.5
    found = features(words, image, np.clip(there, 0, np.array(size) - 1), arguments.bias)
    if kept is not None:
        torch.save(found.half(), kept)
    return found.half().float(), labels


def read_set(words: Words, folder: Path, images: list[Path], arguments: argparse.Namespace, **how: Any) -> Set:
    """A set with the features of its images."""
    parts = [pixels(words, path, arguments, **how) for path in images]
    rows = class_lists.read(folder / "classes.txt").phrases
    return Set(folder.name, rows, torch.cat([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), len(images))


@dataclass(frozen=True)
class Query:
    """One vector that takes part in the softmax, for the class of this code."""

    code: int
    vector: Tensor


def scores(found: Set, queries: Sequence[Query], codes: Sequence[int], threshold: float = 0.0) -> dict[str, float]:
    """Mean IoU of the classes, mean IoU with the background (-1), shares of the background, of one list."""
    probabilities = torch.softmax(found.features @ torch.stack([q.vector for q in queries]).T * LOGIT_SCALE, dim=1)
    winner, place = probabilities.max(dim=1)
    said = np.array([q.code for q in queries])[place.numpy()]
    said = np.where(winner.numpy() < threshold, -1, said)
    truth = np.where(np.isin(found.labels, codes), found.labels.astype(int), -1)
    ious = {}
    for code in (-1, *codes):
        union = ((said == code) | (truth == code)).sum()
        ious[code] = float(((said == code) & (truth == code)).sum() / union) if union else float("nan")
    own = [ious[code] for code in codes]
    return {
        "classes": 100 * float(np.nanmean(own)),
        "all": 100 * float(np.nanmean([*own, ious[-1]])),
        "background": 100 * float((said == -1).mean()),
        "true background": 100 * float((truth == -1).mean()),
    }


def mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of several lists' scores."""
    return {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}


def lists(found: Set) -> dict[str, list[tuple[int, ...]]]:
    """The class lists that a user might give for a set, by how many classes they have."""
    codes = found.classes
    several: dict[str, list[tuple[int, ...]]] = {
        "1": [(c,) for c in codes],
        "2": [*map(tuple, list(combinations(codes, 2))[:10])],
    }
    several["many"] = [tuple(codes)] if len(codes) > 2 else []
    return {size: made for size, made in several.items() if made}


def plain(words: Words, found: Set, codes: Sequence[int]) -> list[Query]:
    """The phrases of the classes, as published: each competes."""
    return [Query(code, words(phrase)) for code in codes for phrase in found.rows[code]]


def backgrounds(words: Words, found: Set, codes: Sequence[int]) -> dict[str, tuple[list[Query], float]]:
    """The meanings of an implicit background: further queries of code -1 and a threshold."""
    left = not_covered(phrase for code in codes for phrase in found.rows[code])
    distractors = [Query(-1, words(word)) for word in left]
    phrase = Query(-1, words("background"))
    made: dict[str, tuple[list[Query], float]] = {
        "none": ([], 0.0),
        "competing": ([phrase], 0.0),
        "distractors": (distractors, 0.0),
        "distractors and background": ([*distractors, phrase], 0.0),
    }
    if distractors:
        made["mean of distractors"] = (
            [Query(-1, F.normalize(torch.stack([q.vector for q in distractors]).mean(0), dim=0))],
            0.0,
        )
    return made | {f"threshold {t}": ([], t) for t in THRESHOLDS}


def study_background(words: Words, sets: Sequence[Set]) -> dict[str, Any]:
    """Scores by size of the list, set and meaning."""
    table: dict[str, Any] = {}
    for found in sets:
        for size, made in lists(found).items():
            rows: dict[str, list[dict[str, float]]] = {}
            for codes in made:
                own = plain(words, found, codes)
                for name, (others, threshold) in backgrounds(words, found, codes).items():
                    rows.setdefault(name, []).append(scores(found, [*others, *own], codes, threshold))
            table.setdefault(size, {})[found.name] = {name: mean(row) for name, row in rows.items()}
    return table


def known_words(found: Set) -> dict[int, str]:
    """The classes of a set that SYNONYMS knows, by code."""
    return {code: word for code in found.classes if (word := found.rows[code][0]) in SYNONYMS}


def rest(words: Words, found: Set, codes: Sequence[int], kind: str) -> list[Query]:
    """The background of a list: distractors, or the phrases of the set's own with classes that are not listed."""
    if kind == "distractors":
        left = not_covered(phrase for code in codes for phrase in (*found.rows[code], *SYNONYMS[found.rows[code][0]]))
        return [Query(-1, words(word)) for word in left]
    return [Query(-1, words("background"))]


def combined(vectors: Sequence[Tensor]) -> Tensor:
    """The unit mean of unit vectors."""
    return F.normalize(torch.stack(list(vectors)).mean(0), dim=0)


def study_synonyms(words: Words, sets: Sequence[Set], kind: str) -> dict[str, Any]:
    """Ways to use several phrases of a class, each class on its own against the rest."""
    table: dict[str, Any] = {}
    for found in sets:
        for code, word in known_words(found).items():
            vectors = [words(phrase) for phrase in SYNONYMS[word]]
            others = rest(words, found, [code], kind)
            made = {
                "first alone": [Query(code, vectors[0])],
                "max": [Query(code, vector) for vector in vectors],
                "mean": [Query(code, combined(vectors))],
                "mean of logits": [Query(code, torch.stack(vectors).mean(0))],
            }
            table[f"{found.name}: {word}"] = {
                name: scores(found, [*others, *own], [code]) for name, own in made.items()
            }
        codes = list(known_words(found))
        if len(codes) > 1:
            many: dict[str, list[Query]] = {"first alone": [], "max": [], "mean": [], "mean of logits": []}
            for code in codes:
                vectors = [words(phrase) for phrase in SYNONYMS[found.rows[code][0]]]
                many["first alone"].append(Query(code, vectors[0]))
                many["max"] += [Query(code, vector) for vector in vectors]
                many["mean"].append(Query(code, combined(vectors)))
                many["mean of logits"].append(Query(code, torch.stack(vectors).mean(0)))
            others = rest(words, found, codes, kind)
            table[f"{found.name}: all"] = {name: scores(found, [*others, *own], codes) for name, own in many.items()}
    return table


def study_templates(words: Words, sets: Sequence[Set], kind: str) -> dict[str, Any]:
    """Sets of templates, each class on its own against the rest, and all together."""
    table: dict[str, Any] = {}
    for found in sets:
        codes = list(known_words(found))
        for which in [[code] for code in codes] + [codes] * (len(codes) > 1):
            name = "all" if len(which) > 1 else found.rows[which[0]][0]
            left = not_covered(found.rows[code][0] for code in which) if kind == "distractors" else ("background",)
            table[f"{found.name}: {name}"] = {
                templates: scores(
                    found,
                    [*(Query(-1, words(word, templates)) for word in left),
                     *(Query(code, words(found.rows[code][0], templates)) for code in which)],
                    which,
                )
                for templates in words.sets
            }  # fmt: skip
    return table


def study_sentences(words: Words, sets: Sequence[Set], kind: str) -> dict[str, Any]:
    """What a sentence beside a phrase does."""
    table: dict[str, Any] = {}
    for found in sets:
        for code, word in known_words(found).items():
            phrase, sentence = words(word), words(SENTENCES[word], "{}")
            others = rest(words, found, [code], kind)
            made = {
                "phrase alone": [phrase],
                "sentence as one more phrase": [phrase, sentence],
                "mean of phrase and sentence": [combined([phrase, sentence])],
                "sentence alone": [sentence],
            }
            table[f"{found.name}: {word}"] = {
                name: scores(found, [*others, *(Query(code, vector) for vector in vectors)], [code])
                for name, vectors in made.items()
            }
    return table


def holds_classes(path: Path, crop: int) -> bool:
    """Whether the middle of an image shows more than one of its set's classes, so that it can be scored."""
    label = np.array(Image.open(path.parents[1] / "mask" / f"{path.stem}.png"))
    top, left = (max(0, (side - crop) // 2) for side in label.shape)
    return len(set(np.unique(label[top : top + crop, left : left + crop]).tolist()) - {NODATA}) > 1


def study_scale(words: Words, arguments: argparse.Namespace, kind: str) -> dict[str, Any]:
    """Scores of sets whose size on the ground is known, seen at several factors."""
    table: dict[str, Any] = {}
    for folder, images in folders(arguments.sets):
        if folder.name not in GSD:
            continue
        few = spread([path for path in images if holds_classes(path, arguments.scale_crop)], arguments.scale_images)
        if not few:
            continue
        row = {}
        for factor in FACTORS:
            found = read_set(words, folder, few, arguments, factor=factor, crop=arguments.scale_crop)
            codes = found.classes
            left = not_covered(phrase for code in codes for phrase in found.rows[code])
            others = [Query(-1, words(w)) for w in (left if kind == "distractors" else ("background",))]
            row[f"{factor:g}"] = scores(found, [*others, *plain(words, found, codes)], codes)
        table[folder.name] = {"gsd": GSD[folder.name], "images": len(few)} | row
        print("scale", folder.name, {k: round(v["classes"], 1) for k, v in row.items()}, flush=True)
    return table


def table(rows: dict[str, Any], columns: Sequence[str], key: str = "classes", first: str = "set") -> list[str]:
    """A Markdown table, its last row the mean."""
    shown = [c for c in columns if any(c in row for row in rows.values())]
    lines = [f"| {first} | " + " | ".join(shown) + " |", "|-" * (len(shown) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[c][key]:.1f}" if c in row else "" for c in shown) + " |")
    means = [np.nanmean([row[c][key] for row in rows.values() if c in row]) for c in shown]
    return [*lines, "| **mean** | " + " | ".join(f"**{m:.1f}**" for m in means) + " |"]


def summary(found: dict[str, Any]) -> str:
    """The means that the choices rest on, in one table each."""
    lines = []
    for size, rows in found["background"].items():
        for seen, chosen in (
            ("all", rows),
            ("not of shared/labelled", {n: r for n, r in rows.items() if n not in OWN}),
        ):
            if chosen:
                means = {
                    name: np.nanmean([[r[name][k] for k in ("classes", "background")] for r in chosen.values()], axis=0)
                    for name in next(iter(chosen.values()))
                    if all(name in r for r in chosen.values())
                }
                told = ", ".join(f"{name} {a:.1f} ({b:.1f} %)" for name, (a, b) in means.items())
                lines.append(f"background, lists of {size}, {len(chosen)} sets, {seen}: {told}")
    studies = {f"synonyms, {k}": v for k, v in found["synonyms"].items()}
    for name, rows in (studies | {k: found[k] for k in ("templates", "sentences")}).items():
        for seen, chosen in (
            ("all", rows),
            ("not of shared/labelled", {n: r for n, r in rows.items() if n.split(":")[0] not in OWN}),
        ):
            if chosen:
                told = ", ".join(
                    f"{k} {np.nanmean([r[k]['classes'] for r in chosen.values()]):.1f}"
                    for k in next(iter(chosen.values()))
                )
                lines.append(f"{name}, {len(chosen)} rows, {seen}: {told}")
    return "\n".join(lines)


def page(found: dict[str, Any]) -> str:
    """All tables."""
    lines = [
        "# What the words of a class list do, measured",
        "",
        f"`python -m benchmarks.words`, {found['model']} (SHA-256 {found['model_sha256'][:12]}), "
        f"{found['sets']} sets, {found['images']} images, "
        f"{found['pixels']} pixels an image; bilinear features. Mean IoU in per cent of the classes of the list, "
        "background left out. Sets of ../shared/train/labelled and the even-indexed images of ../shared/labelled; "
        "the model may have been trained on some of them.",
        "",
        *(f"- {line}" for line in summary(found).splitlines()),
    ]
    named = ["none", "competing", "distractors", "distractors and background", "mean of distractors"]
    for size, rows in found["background"].items():
        lines += ["", f"## Implicit background, lists of {size}", ""]
        best = max(
            (f"threshold {t}" for t in THRESHOLDS), key=lambda c: np.nanmean([r[c]["classes"] for r in rows.values()])
        )
        lines += table(rows, [*named, best])
    for kind in ("competing", "distractors"):
        lines += ["", f"## Synonyms, background {kind}", "", *table(
            found["synonyms"][kind], ["first alone", "max", "mean", "mean of logits"], first="set: class"
        )]  # fmt: skip
    lines += ["", "## Templates", "", *table(found["templates"], ["80", "7", "satellite", "{}"], first="set: class")]
    columns = ["phrase alone", "sentence as one more phrase", "mean of phrase and sentence", "sentence alone"]
    lines += ["", "## A sentence beside a phrase", "", *table(found["sentences"], columns, first="set: class")]
    if found["scale"]:
        lines += ["", "## Scale: seen at a factor of its pixels", ""]
        rows = {f"{name}, {row['gsd']:g} m": row for name, row in found["scale"].items()}
        lines += table(rows, [f"{f:g}" for f in FACTORS], first="set, metres a pixel")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--sets", default="", help="names by comma; all of them without")
    parser.add_argument("--images", type=int, default=8, help="of a set, at most")
    parser.add_argument("--crop", type=int, default=336, help="side of the middle of an image that is looked at")
    parser.add_argument("--pixels", type=int, default=1500, help="of an image")
    parser.add_argument("--scale-images", type=int, default=3, help="of a set whose size is known; 0 = none")
    parser.add_argument("--scale-crop", type=int, default=224)
    parser.add_argument("--bias", type=float, default=0.5, help="--global-bias")
    parser.add_argument("--background", default="distractors", choices=("competing", "distractors"))
    parser.add_argument("--cache", type=Path, default=None)
    parser.add_argument("--name", default="words")
    arguments = parser.parse_args()
    if arguments.cache:
        arguments.cache.mkdir(parents=True, exist_ok=True)
    words, started = Words(arguments.model), time.monotonic()
    sets = []
    for folder, images in folders(arguments.sets):
        sets.append(read_set(words, folder, spread(images, arguments.images), arguments, crop=arguments.crop))
        print(f"{time.monotonic() - started:.0f} s: {folder.name}", flush=True)
    kind = arguments.background
    found = {
        "model": arguments.model,
        "model_sha256": words.clip.sha256,
        "sets": len(sets),
        "images": sum(s.images for s in sets),
        "pixels": arguments.pixels,
        "background": study_background(words, sets),
        "synonyms": {k: study_synonyms(words, sets, k) for k in ("competing", "distractors")},
        "templates": study_templates(words, sets, kind),
        "sentences": study_sentences(words, sets, kind),
        "scale": study_scale(words, arguments, kind),
    }
    print(summary(found))
    (Path(__file__).parent / f"{arguments.name}.md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
