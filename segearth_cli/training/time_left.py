"""How long a run still takes, from what its latest steps and looks took."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import fmean, median

_STEPS = 100  # the latest that count: a machine's load changes, and the first steps are slow
_LOOKS = 3


@dataclass(slots=True)
class TimeLeft:
    """Seconds that are left of a run whose every so many steps end with a look."""

    steps: int
    """Of the whole run."""
    every: int
    """Steps from one look to the next; the last step has one too."""
    _stepped: deque[float] = field(default_factory=lambda: deque(maxlen=_STEPS))
    _looked: deque[float] = field(default_factory=lambda: deque(maxlen=_LOOKS))

    def step(self, seconds: float) -> None:
        """Counts a step with all that happens around it but a look."""
        self._stepped.append(seconds)

    def look(self, seconds: float) -> None:
        """Counts a look."""
        self._looked.append(seconds)

    def seconds(self, done: int) -> float:
        """What is left after so many steps.

        A step takes what the latest took, without the tenth of them that were fastest and the tenth that were slowest.
        """
        if done >= self.steps:
            return 0.0
        looks = self.steps // self.every - done // self.every + (self.steps % self.every > 0)
        return (self.steps - done) * _trimmed(self._stepped) + looks * (fmean(self._looked) if self._looked else 0.0)


def _trimmed(values: deque[float]) -> float:
    if len(values) < 10:
        return median(values) if values else 0.0
    tenth = len(values) // 10
    return fmean(sorted(values)[tenth:-tenth])
