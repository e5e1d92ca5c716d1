"""The shapes that the compiled kernels of a CPU and their callers agree on."""

from __future__ import annotations

from segearth_cli.model.tiles import TILE

RADIUS = 5  # of the published upsampler, whose taps the kernels have unrolled
WIDTH = 128  # of a pixel's row of 121 taps, with its colours and a one behind them
BICUBIC = 4  # source positions that a resized one is mixed of
NEAR = TILE + 2 * RADIUS  # pixels of an axis that a tile and its margins span
PATCH = NEAR + BICUBIC  # source positions that they need, at most
