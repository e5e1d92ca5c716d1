"""Tie a trained SimFeatUp to another mini: python -m scripts.mini_upsampler_tie UPSAMPLER MINI writes MINI's.

Its kernels see the image alone, so one that was trained on an earlier mini serves the next of as many channels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from segearth_cli.files import write_bytes
from segearth_cli.weights import load_clip, read_tensors


def main() -> None:
    """Write MINI/upsampler.safetensors: the same tensors and facts of training, the hash of the model in MINI."""
    from safetensors.torch import save

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upsampler", type=Path)
    parser.add_argument("mini", type=Path)
    options = parser.parse_args()
    tensors, header = read_tensors(options.upsampler)
    header["model_sha256"] = load_clip(f"local-dir:{options.mini}").sha256
    write_bytes(options.mini / "upsampler.safetensors", save(tensors, header))


if __name__ == "__main__":
    main()
