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
    told = {key: without_secrets(value) if isinstance(value, str) else value for key, value in facts.items()}
    answer(json.dumps(told, ensure_ascii=False) if as_json else without_secrets(str(text)))
