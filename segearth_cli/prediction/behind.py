"""Work that goes on in a thread behind the one that gives it, which need not wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from segearth_cli.clock import stage

T = TypeVar("T")


@contextmanager
def behind(
    act: Callable[[T], None], around: Callable[[], AbstractContextManager[object]], name: str
) -> Iterator[Callable[[T], None]]:
    """A function that gives values to a thread, where `act` takes one after the other, all of them by the block's end.

    around: what the thread does it in, e.g. settings that belong to threads. What `act` raises comes out of a later
    call, or at the end; when the block fails, the value in work is finished first.
    """
    last: Future[None] | None = None

    def taken(value: T) -> None:
        with around():
            act(value)

    def finished() -> None:
        if last is not None:
            with stage("wait"):
                last.result()

    def give(value: T) -> None:
        nonlocal last
        finished()  # one value at a time, so that no more are held
        last = pool.submit(taken, value)

    pool = ThreadPoolExecutor(1, name)
    try:
        yield give
        finished()
    finally:
        pool.shutdown()
