"""Where benchmark figures go: `benchmarks/results/NAME.json`, and the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def write(name: str, facts: dict[str, Any]) -> None:
    """Keep the figures of one benchmark and show them."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(_rounded(facts), indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(f"{name}:\n{text}")


def cpu_name() -> str:
    """The processor's name as Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
