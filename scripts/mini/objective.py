"""What the trained end is asked for: words where they are, nothing where they are not, captions for their regions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .views import VOID
from .words import ABSENT, COVERS, PRESENT, UNKNOWN

SCALE = 50.0  # of the logits, as in use
BIAS = 0.3  # of the global token, as published; users choose others
AFFINITY = 0.07  # temperature of token similarity


@dataclass(frozen=True)
class Regions:
    """The image regions of a batch of canvases, R of them; a canvas has one to four, and some void.

    patch: (B, N) index of the region a patch shows, -1 = none. known: (R, W) as words.presence. canvas: (R,) canvas.
    void: (B, N) bool, patches that show no data.
    """

    patch: Tensor
    known: Tensor
    canvas: Tensor
    void: Tensor

    @property
    def members(self) -> Tensor:
        """(R, N) bool: patches of the region, in its canvas."""
        return self.patch[self.canvas] == torch.arange(len(self.canvas))[:, None]


def regions(grid: Tensor, members: list[list[int]], known: Tensor) -> tuple[Regions, list[int]]:
    """Regions of at least 6 patches from patch grids (B, N), and the image that each shows.

    members: images of each canvas. known: (images, W).
    """
    patch = torch.full_like(grid, -1, dtype=torch.long)
    canvas: list[int] = []
    image: list[int] = []
    for b, row in enumerate(members):
        for n, member in enumerate(row):
            where = grid[b] == n
            if int(where.sum()) >= 6:
                patch[b][where] = len(canvas)
                canvas.append(b)
                image.append(member)
    return Regions(patch, known[image], torch.tensor(canvas), grid == VOID), image


def calibrated(tokens: Tensor, bias: float = BIAS) -> Tensor:
    """Tokens (B, 1 + N, C) -> patch vectors (B, N, C) whose dot products with words are logits."""
    unit = F.normalize(tokens.float(), dim=-1)
    return unit[:, 1:] - bias * unit[:, :1]


def word_presence(logits: Tensor, found: Regions, area: Tensor, weight: Tensor) -> Tensor:
    """Every word against the background, by the patches of a region that answer most to it.

    logits: (B, N, W), word minus background, scaled. area: (W,) share of patches that must answer where the word is
    there. weight: (W,) of a word that is there. Words that are not there: the strongest fifth must stay silent.
    """
    inside = found.members
    z = logits.index_select(0, found.canvas).masked_fill(~inside[:, :, None], -1e4)
    z = z.sort(dim=1, descending=True).values  # (R, N, W)
    rank = torch.arange(z.shape[1])[None, :, None]
    size = inside.sum(dim=1)[:, None].float()  # (R, 1)

    def mean_of_top(values: Tensor, share: Tensor) -> Tensor:
        top = (rank < (share * size).clamp(min=2)[:, None, :]) & (rank < size[:, None, :])
        return (values * top).sum(dim=1) / top.sum(dim=1)

    share = torch.where(found.known == COVERS, torch.full_like(size, 0.9), area[None])
    yes = mean_of_top(F.softplus(-z), share)
    no = mean_of_top(F.softplus(z), torch.full_like(size, 0.2).expand_as(share))
    there = (found.known >= PRESENT) * weight
    absent = (found.known == ABSENT) + 0.08 * (found.known == UNKNOWN)
    loss = (yes * there).sum() / there.sum() + 2 * (no * absent).sum() / absent.sum()
    return loss + 0.3 * F.softplus(logits[found.void]).sum() / max(1, int(found.void.sum()) * logits.shape[-1])


def one_of_the_named(logits: Tensor, found: Regions) -> Tensor:
    """Softmax over all words and the background, as in use: the winner is one that may be there.

    logits: (B, N, W + 1), background last. Under a cover, the winner is a word that is there.
    """
    chosen = found.patch >= 0
    logp = F.log_softmax(logits[chosen], dim=-1)
    known = found.known[found.patch[chosen]]
    covered = (known == COVERS).any(dim=1, keepdim=True)
    allowed = torch.where(covered, known >= PRESENT, known >= UNKNOWN)
    allowed = torch.cat([allowed, ~covered], dim=1)
    return -torch.logsumexp(logp.masked_fill(~allowed, -1e4), dim=-1).mean()


def agreement(
    logits: Tensor, found: Regions, frozen: Tensor, groups: Tensor, covers: Tensor, draws: torch.Generator
) -> Tensor:
    """Softmax over a random part of the words, as in use: similar patches of a region take one group of words.

    A patch's group is the winner among those its region names, after averaging over similar patches. Where the user
    does not name that group (half of the groups are left out, then a third of the words), the background is right.
    logits: (B, N, W + 1), background last. frozen: (B, N, D) tokens of the frozen blocks. groups: (W + 1,).
    covers: (groups,) bool, groups of ground covers, of which a patch shows only one.
    """
    member = F.one_hot(groups, len(covers)).to(logits.dtype)  # (W + 1, G)
    with torch.no_grad():
        mean = _smoothed(logits.softmax(dim=-1), found, frozen)
        named = torch.cat([found.known >= PRESENT, torch.ones(len(found.known), 1, dtype=torch.bool)], dim=1)
        possible = (named.to(logits.dtype) @ member > 0)[found.patch.clamp(min=0)]  # (B, N, G)
        share = (mean @ member) * possible
        confidence, winner = (share / share.sum(dim=-1, keepdim=True).clamp(min=1e-8)).max(dim=-1)
        of_group = torch.rand(len(logits), len(covers), generator=draws) < 0.5
        kept = of_group[:, groups] & (torch.rand(len(logits), len(groups), generator=draws) < 0.67)
        kept[:, -1] = True
        mass = (mean @ member).gather(-1, winner[..., None])[..., 0]
        left = ((mean * kept[:, None]) @ member).gather(-1, winner[..., None])[..., 0] / mass.clamp(min=1e-8)
        target = torch.where(left > 0, winner, groups[-1])
        clear = torch.where(left > 0, left > 0.5, covers[winner])
        sure = (confidence > 0.55) & (found.patch >= 0) & clear
    logp = logits.masked_fill(~kept[:, None], -1e4).log_softmax(dim=-1)[sure]
    right = groups == target[sure][:, None]
    return -torch.logsumexp(logp.masked_fill(~right, -1e4), dim=-1).mean() if sure.any() else logits.sum() * 0


def _smoothed(values: Tensor, found: Regions, frozen: Tensor) -> Tensor:
    """Values (B, N, K) averaged over the patches of the same region whose frozen tokens are similar."""
    x = F.normalize(frozen.float() - frozen.float().mean(dim=(0, 1)), dim=-1)
    same = (found.patch[:, :, None] == found.patch[:, None, :]) & (found.patch[:, :, None] >= 0)
    return (x @ x.transpose(1, 2) / AFFINITY).masked_fill(~same, -1e4).softmax(dim=-1) @ values
