"""What every image gave, kept on disk under a hash of all that decides it: a run that was killed goes on from there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segearth_cli.evaluation import Confusion
from segearth_cli.files import write_text
from segearth_cli.reproduction.score import Scored
from segearth_cli.texts import from_json


def record_file(folder: Path, facts: Mapping[str, Any]) -> Path:
    """Where the counts of an image are kept."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    return folder / f"{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:40]}.json"


def save_record(path: Path, name: str, scored: Scored) -> None:
    """Keeps the counts of an image; inverse of `read_record`."""
    counts = {way: confusion.counts.tolist() for way, confusion in scored.counts.items()}
    body = {"image": name, "tiles": dict(scored.tiles), "counts": counts}
    text = json.dumps(body, ensure_ascii=True)
    write_text(path, json.dumps({"sha256": _digest(text), "body": body}, ensure_ascii=True) + "\n")


def read_record(path: Path) -> Scored | None:
    """The counts of an image; None where they are not kept, or the file is not what was written."""
    if not path.is_file():  # a pipe would be waited for
        return None
    try:
        document = from_json(path.read_text(encoding="utf-8"))
        body = document["body"]
        if document["sha256"] != _digest(json.dumps(body, ensure_ascii=True)):
            return None
        counts = {way: Confusion(np.array(rows, np.int64)) for way, rows in body["counts"].items()}
        return Scored(counts, {way: int(tiles) for way, tiles in body["tiles"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
