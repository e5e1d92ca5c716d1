"""Who computes shards: what the list of work asks of a pool of workers, and the pool that is this process alone."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from segearth_cli.errors import SegEarthError
from segearth_cli.jobs.compute import Session
from segearth_cli.jobs.run_folder import Shard, State
from segearth_cli.progress import Progress


class Item(NamedTuple):
    """A shard of a scene of the list."""

    scene: int
    """The number of the scene, from 0."""
    shard: Shard
    """The shard."""
    wait: bool
    """Whether a process that is at it is waited for."""


Answer = State | SegEarthError | None  # what became of an item; None: another process is at it


class Pool(Protocol):
    """Who computes items."""

    unit: str
    """What its progress is counted in: window or shard."""

    def room(self) -> bool:
        """Whether it takes one more item now."""

    def submit(self, item: Item, work: Session, advance: Progress) -> None:
        """Takes an item. advance: to be called as it is computed."""

    def answer(self) -> tuple[Item, Answer]:
        """What became of one of the items that it has; waits for it. Raises RunError when there is nobody left."""


class Alone:
    """This process: one item at a time."""

    unit = "window"

    def __init__(self) -> None:
        self._todo: deque[tuple[Item, Session, Progress]] = deque()

    def room(self) -> bool:
        """Whether it has nothing to do."""
        return not self._todo

    def submit(self, item: Item, work: Session, advance: Progress) -> None:
        """Takes an item."""
        self._todo.append((item, work, advance))

    def answer(self) -> tuple[Item, Answer]:
        """Computes the item that it has."""
        item, work, advance = self._todo.popleft()
        try:
            return item, work.compute(item.shard, advance, wait=item.wait)
        except SegEarthError as e:
            return item, e
