"""Where the time of a run goes: stages that the parts of the work name, measured while somebody asks, else for free."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(slots=True)
class Spent:
    """What one stage took in all threads together, without the stages inside it."""

    calls: int = 0
    """How often it was entered."""
    seconds: float = 0.0
    """On the clock; of threads side by side each counts."""
    cpu_seconds: float = 0.0
    """Of the processor, by the threads that entered it; not by those that a library runs for them."""


@dataclass(slots=True)
class Clock:
    """The stages of a run so far."""

    stages: dict[str, Spent] = field(default_factory=dict)
    """By name, in the order in which they were first left."""
    seconds: float = 0.0
    """The whole run on the clock."""
    cpu_seconds: float = 0.0
    """The whole run by the processor, in all threads of the process."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _inner: threading.local = field(default_factory=threading.local)  # (seconds, CPU seconds) of stages within stages

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what the block takes for a stage, but for the stages inside the block."""
        outer: list[float] | None = getattr(self._inner, "sums", None)
        self._inner.sums = sums = [0.0, 0.0]
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            self._inner.sums = outer
            if outer is not None:
                outer[0] += wall
                outer[1] += cpu
            with self._lock:
                spent = self.stages.setdefault(name, Spent())
                spent.calls += 1
                spent.seconds += wall - sums[0]
                spent.cpu_seconds += cpu - sums[1]

    def table(self) -> str:
        """The stages for people, the dearest first, and the whole run below."""
        rows = [f"{'stage':<10}{'calls':>9}{'seconds':>10}{'CPU s':>9}{'CPU %':>8}"]
        whole = max(self.cpu_seconds, 1e-9)
        for name, spent in sorted(self.stages.items(), key=lambda one: -one[1].cpu_seconds):
            share = 100 * spent.cpu_seconds / whole
            rows.append(f"{name:<10}{spent.calls:>9}{spent.seconds:>10.2f}{spent.cpu_seconds:>9.2f}{share:>8.1f}")
        told = sum(spent.cpu_seconds for spent in self.stages.values())
        rest = self.cpu_seconds - told
        rows.append(f"{'rest':<10}{'':>9}{'':>10}{rest:>9.2f}{100 * rest / whole:>8.1f}")
        rows.append(f"{'run':<10}{'':>9}{self.seconds:>10.2f}{self.cpu_seconds:>9.2f}{100:>8.1f}")
        return "\n".join(rows)

    def facts(self) -> dict[str, Any]:
        """The same for programs: seconds to the millisecond."""
        stages = {
            name: {
                "calls": spent.calls,
                "seconds": round(spent.seconds, 3),
                "cpu_seconds": round(spent.cpu_seconds, 3),
            }
            for name, spent in self.stages.items()
        }
        return {"seconds": round(self.seconds, 3), "cpu_seconds": round(self.cpu_seconds, 3), "stages": stages}


_running: list[Clock] = []  # the clocks of this process, the one that counts last
_NOTHING = nullcontext()


def stage(name: str) -> AbstractContextManager[None]:
    """Counts what a block takes for a stage of the clock that runs in this process, if one does."""
    return _running[-1].stage(name) if _running else _NOTHING


def counted(name: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """For functions that are a stage as a whole."""

    def of_stage(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @wraps(function)
        def timed_function(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
            with stage(name):
                return function(*arguments, **keywords)

        return timed_function

    return of_stage


@contextmanager
def timed(*, asked: bool = True) -> Iterator[Clock]:
    """A clock that counts the stages of all threads of this process until the block ends.

    asked: off = it counts nothing.
    """
    clock = Clock()
    if not asked:
        yield clock
        return
    wall, cpu = time.perf_counter(), time.process_time()
    _running.append(clock)
    try:
        yield clock
    finally:
        _running.remove(clock)
        clock.seconds, clock.cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
