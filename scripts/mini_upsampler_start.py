"""What mini's SimFeatUp is trained from: python scripts/mini_upsampler_start.py OUT.

A joint bilateral filter: narrow in space, keys such that a neighbour counts by how alike its colour is, no correction,
no head. From chance, 700 steps only reached what bilinear resizing does; this starts there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from segearth_cli.model import JBU, Upsampler
from segearth_cli.weights import MINI, image_facts, load_clip, save_upsampler

SEED = 20261
SIGMA = 0.25  # of the spatial kernel, whose radius is 1
HEIGHT, WIDTH = 4.0, 0.5  # of the range kernel's logarithm over the distance of normalised colours
STEPS = 1500


def main() -> None:
    """Write the upsampler, tied to the shipped mini."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    facts = image_facts("mini")
    torch.manual_seed(SEED)
    upsampler = Upsampler(facts.channels, facts.patch).eval()
    assert isinstance(upsampler.up, JBU)
    print(f"squared error of the range kernel: {fit_keys(upsampler.up.range_proj):.3f}")
    with torch.no_grad():
        upsampler.up.sigma_spatial.fill_(SIGMA)
        for last in (upsampler.up.fixup_proj[3], upsampler.fixup_proj[1]):
            for parameter in last.parameters():
                parameter.zero_()
    clip = load_clip(f"local-dir:{MINI}")
    save_upsampler(upsampler, out, {"model": "mini", "model_sha256": clip.sha256})


def fit_keys(keys: nn.Sequential) -> float:
    """Fits products of keys to HEIGHT exp(-d^2 / (2 WIDTH^2)), d between normalised colours; returns the last error."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(keys.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    loss = torch.tensor(0.0)
    for _ in range(STEPS):
        colours = neighbourhoods()
        made = keys(colours.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        squares = (colours[:, :, None] - colours[:, None]).square().sum(dim=-1)
        wanted = HEIGHT * torch.exp(-squares / (2 * WIDTH**2))
        loss = (made @ made.transpose(1, 2) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return loss.item()


def neighbourhoods() -> Tensor:
    """256 times 16 normalised colours: about one of their own, further away in brightness than in hue."""
    centre = torch.randn(256, 1, 3) + 0.7 * torch.randn(256, 1, 1)
    hue = torch.randn(256, 16, 3) * torch.rand(256, 1, 1)
    return centre + hue + torch.randn(256, 16, 1) * torch.rand(256, 1, 1)


if __name__ == "__main__":
    main()
