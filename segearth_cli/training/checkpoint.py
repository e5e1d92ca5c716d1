"""The state of a training run on disk: replaced whole, and taken up again only by the same run."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from segearth_cli.errors import TrainingError
from segearth_cli.files import write_bytes
from segearth_cli.texts import refuse_pipe


def save(path: Path, step: int, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Writes the state after a step. identity: settings that a run must share to go on from it."""
    text = io.BytesIO()  # torch tells of a full disk in its own words
    torch.save({"step": step, "identity": dict(identity), "state": dict(state)}, text)
    write_bytes(path, _seal(text.getvalue()) + text.getvalue())


def load(path: Path, identity: Mapping[str, Any], device: torch.device) -> tuple[int, dict[str, Any]]:
    """The step and the state that `save` wrote. Raises TrainingError when damaged, or when another run wrote it."""
    refuse_pipe(path)
    try:
        content = path.read_bytes()
        start = len(_seal(b""))
        if content[:start] != _seal(content[start:]):  # torch would read changed numbers and say nothing
            raise ValueError("its content is not what its hash says")
        saved = torch.load(io.BytesIO(content[start:]), map_location=device, weights_only=True)
        step, state, its = int(saved["step"]), saved["state"], saved["identity"]
    except Exception as e:
        why = next(iter(str(e).splitlines()), type(e).__name__)
        raise TrainingError(f"{path}: damaged: {why}; start anew with --overwrite") from e
    for name in {**identity, **its}:  # what is there only where it was chosen, too
        if (value := identity.get(name)) != its.get(name):
            was = "another" if len(str(value)) > 40 else f"{its.get(name)}, now {value}"
            raise TrainingError(
                f"{path}: made with another setting: {name} was {was}; resume with the same, or start anew with "
                "--overwrite"
            )
    return step, state


def _seal(content: bytes) -> bytes:
    """What stands before the content of a checkpoint."""
    return f"segearth checkpoint {hashlib.sha256(content).hexdigest()}\n".encode()
