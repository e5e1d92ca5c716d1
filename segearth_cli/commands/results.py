"""What a command prints of what it made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segearth_cli.console import answer, without_secrets


def show(text: str | Path, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints a line of text, mostly the path of what was made, or all facts about it as one JSON object.

    Of URLs neither queries nor user:password are printed.
    """
    answer(json.dumps(_told(facts), ensure_ascii=False) if as_json else without_secrets(str(text)))


def _told(value: Any) -> Any:
    """A JSON value whose texts, however deep, hold no secrets."""
    if isinstance(value, Mapping):
        return {key: _told(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_told(inner) for inner in value]
    return without_secrets(value) if isinstance(value, str) else value
