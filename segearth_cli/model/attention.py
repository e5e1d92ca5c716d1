"""The ways in which the last block of a tower may attend."""

from __future__ import annotations

from typing import Literal

Attention = Literal["segearth", "clearclip", "vanilla"]  # of the last block
