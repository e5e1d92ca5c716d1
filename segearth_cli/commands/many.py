"""Several inputs: one that fails does not stop the others; each failure is told, and the exit code says how it went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from segearth_cli import console
from segearth_cli.errors import RasterError, RunError, SegEarthError, SomeFailedError, VectorError, of_input

Item = TypeVar("Item")
Result = TypeVar("Result")
Faults = tuple[type[SegEarthError], ...]

OF_ONE: Faults = (RasterError, RunError, VectorError)  # what the next input need not meet too
_TOLD = 10  # failed inputs named in the last line


@dataclass(frozen=True, slots=True)
class Tried(Generic[Result]):
    """What became of one input."""

    name: str
    """As it was given."""
    result: Result | None = None
    """What the action returned, None when it failed."""
    error: SegEarthError | None = None
    """Why it failed, None when it did not."""


def each(
    names: Sequence[str],
    items: Sequence[Item],
    act: Callable[[Item], Result],
    faults: Faults = OF_ONE,
    *,
    raises: bool = True,
) -> list[Tried[Result]]:
    """What became of every item; each failure is told at once.

    faults: those of one item alone; all others end the loop. So does the failure of the only item, if `raises`.
    """
    tried = []
    for name, item in zip(names, items, strict=True):
        one = _attempt(name, item, act, faults)
        if one.error is not None:
            if len(names) == 1 and raises:
                raise one.error
            console.note(str(one.error))
        tried.append(one)
    return tried


class LaterError(Exception):
    """Raised for an input that is to be taken up again when all others are done: another process is at it."""


def each_twice(
    names: Sequence[str],
    items: Sequence[Item],
    act: Callable[[Item, bool], Result],
    settled: Callable[[int, Tried[Result]], None],
    *,
    quiet: bool,
) -> list[Tried[Result]]:
    """What became of every item; those that fail, or raise LaterError, come once more when all others are done.

    act: called with an item and whether it is its last time, when it must not raise LaterError. settled: called with
    the number of an item as soon as it is known what became of it.
    """
    tried: dict[int, Tried[Result]] = {}
    left = []
    for number, (name, item) in enumerate(zip(names, items, strict=True)):
        try:
            one = _attempt(name, item, lambda item: act(item, False), (SegEarthError,))
        except LaterError:
            left.append(number)
            continue
        if one.error is not None:
            left.append(number)
            if not quiet:
                console.note(f"{name}: failed, to be tried once more: {console.said_of(name, str(one.error))}")
            continue
        tried[number] = one
        settled(number, one)
    for number in left:
        tried[number] = _attempt(names[number], items[number], lambda item: act(item, True), (SegEarthError,))
        settled(number, tried[number])
    return [tried[number] for number in range(len(names))]


def raise_failed(tried: Sequence[Tried[Result]], noun: str) -> None:
    """Raises when inputs failed: SomeFailedError (exit 3), or SegEarthError (exit 1) when none is done."""
    failed = [one.name for one in tried if one.error]
    if not failed:
        return
    line = f"{len(failed)} of {len(tried)} {noun} failed: {console.first_of(failed, _TOLD)}"
    raise SomeFailedError(line) if len(failed) < len(tried) else SegEarthError(line)


def _attempt(name: str, item: Item, act: Callable[[Item], Result], faults: Faults) -> Tried[Result]:
    try:
        with of_input(name):
            return Tried(name, act(item))
    except faults as e:
        return Tried(name, error=e)
