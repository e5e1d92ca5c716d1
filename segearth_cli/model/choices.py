"""The names that options of the model may take, known without torch."""

from __future__ import annotations

from typing import Literal

Attention = Literal["segearth", "clearclip", "sclip", "maskclip", "naclip", "nonly", "gav", "gem", "vanilla"]
LOGIT_SCALE = 50.0  # of the published settings: what logits are multiplied by before the softmax
Kernels = Literal["auto", "torch", "triton"]  # what upsamples: auto = LLVM on CPUs where llvmlite is, else PyTorch
Refine = Literal["exact", "adaptive"]  # where SimFeatUp's last stage is run: everywhere, or where classes come close
