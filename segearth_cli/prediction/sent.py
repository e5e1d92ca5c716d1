"""Pixels of strips on an accelerator, each sent once: windows that overlap are cut out there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segearth_cli.raster import Chip


@dataclass(frozen=True, slots=True)
class SentChip:
    """The pixels of a window where the model runs."""

    pixels: Tensor
    """(4, S, S) uint8: red, green, blue, and 1 where there is data."""
    whole: bool
    """Whether all of it is data; known without asking the device."""


class SentStrip:
    """The strip that windows are cut from, moved down over a scene; what it held before is not sent again."""

    def __init__(self, device: torch.device):
        self._device = device
        self._pixels: Tensor | None = None  # (4, S, W)
        self._row = 0

    def move(self, row: int, strip: Chip) -> None:
        """Take the pixels of the strip that begins at a row below the last one's."""
        kept = None
        if self._pixels is not None and (down := row - self._row) < self._pixels.shape[1]:
            kept = self._pixels[:, down:]
        first = 0 if kept is None else kept.shape[1]
        size = 4, len(strip.valid) - first, strip.valid.shape[1]
        rows = torch.empty(size, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        rows[:3].numpy()[:] = strip.image[:, first:]
        rows[3].numpy()[:] = strip.valid[first:]
        sent = rows.to(self._device, non_blocking=True)
        self._pixels, self._row = sent if kept is None else torch.cat([kept, sent], dim=1), row

    def chip(self, columns: slice, *, whole: bool) -> SentChip:
        """The window at some columns of the strip; it stays what it is when the strip moves on."""
        assert self._pixels is not None
        return SentChip(self._pixels[:, :, columns], whole)
